-- Corrects leases that are longer than any can be, because they began before the clock was set back.
-- Returns how many are corrected; call it again while it is as many as it may. Those to which somebody gave no end
-- (`+inf`) are left alone.
-- KEYS: registry, leases, meta, events. ARGV: longest lease in ms, ms that the clock went back, most.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local latest = now + ARGV[1]
local long = redis.call('ZRANGEBYSCORE', KEYS[2], string.format('(%.0f', latest), '(+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[3])
for i = 1, #long, 2 do
    redis.call('ZADD', KEYS[2], 'XX', string.format('%.0f', math.min(long[i + 1] - ARGV[2], latest)), long[i])
end
return #long / 2
