-- The beginning of each script that a process calls for an instance of its own.
-- KEYS: registry, leases, meta, events, fence. ARGV: driver, number of its call, ms to remember the call or 0.

-- What was sent by a connection that is closed by now may arrive after what came by the next one. So a call that is
-- older than one that is remembered changes nothing.
local by, number = string.match(redis.call('GET', KEYS[5]) or '', '^(%x+) (%d+)$')
if by == ARGV[1] and tonumber(number) > tonumber(ARGV[2]) then
    return 0
end
if ARGV[3] ~= '0' then
    -- This may be refused for want of memory, and a goodbye counts even then.
    redis.pcall('SET', KEYS[5], ARGV[1] .. ' ' .. ARGV[2], 'PX', ARGV[3])
end

