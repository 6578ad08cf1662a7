-- Removes an instance, if it is there, and remembers the goodbye for registrations that come too late.
-- KEYS: registry, leases, meta, events, said. ARGV: id, entries to keep, driver, number of its call, ms to remember it.
local removed = redis.call('HDEL', KEYS[1], ARGV[1]) + redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
if removed > 0 then
    redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[2], '*', 'op', 'remove', 'id', ARGV[1])
end
-- Without memory this is refused if nothing was removed, and so is a registration.
redis.pcall('SET', KEYS[5], ARGV[3] .. ' ' .. ARGV[4], 'PX', ARGV[5])
return removed
