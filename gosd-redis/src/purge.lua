-- Removes instances whose lease ran out in a span of time, but only once the first is overdue by the
-- grace, so that however many processes call this, it does so at most once a grace. Returns how many.
-- KEYS: registry, leases, meta, events, and a fence that never exists: while a cluster moves the namespace, its node
-- refuses whatever names a key that is missing, as registrations do.
-- ARGV: grace in ms, most to remove, entries to keep, and the span: its lower bound as of a range, and its end.

-- Changes nothing, but is refused whenever a registration would be.
redis.call('ZADD', KEYS[2], 'XX', 0, '')

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- Judged by the caller, which knows if the clock was set; it may have been set since.
local till = math.min(now, tonumber(ARGV[5]))
local expired = redis.call('ZRANGEBYSCORE', KEYS[2], ARGV[4], till, 'WITHSCORES', 'LIMIT', 0, ARGV[2])
if #expired == 0 or expired[2] + ARGV[1] > now then
    return 0
end
for i = 1, #expired, 2 do
    local id = expired[i]
    -- First, so that it is refused for want of memory, as are the heartbeats of those who are alive.
    redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[3], '*', 'op', 'expire', 'id', id)
    redis.call('HDEL', KEYS[1], id)
    redis.call('HDEL', KEYS[3], id)
    redis.call('ZREM', KEYS[2], id)
end
return #expired / 2
