-- Removes instances whose lease has run out, but only once the oldest is overdue by the grace, so
-- that however many processes call this, it does so at most once a grace. Returns how many.
-- KEYS: registry, leases, meta, events. ARGV: grace in ms, most to remove, entries to keep.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local oldest = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
if not oldest or oldest + ARGV[1] > now then
    return 0
end
local expired = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[2])
for _, id in ipairs(expired) do
    -- First, so that it is refused for want of memory, as are the heartbeats of those who are alive.
    redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[3], '*', 'op', 'expire', 'id', id)
    redis.call('HDEL', KEYS[1], id)
    redis.call('HDEL', KEYS[3], id)
    redis.call('ZREM', KEYS[2], id)
end
return #expired
