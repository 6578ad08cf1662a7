-- Gives a lease to instances that have none, if they are still there. Returns how many got one.
-- KEYS: registry, leases, meta, events. ARGV: lease in ms, then the ids.
local time = redis.call('TIME')
local expiry = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
local adopted = 0
for i = 2, #ARGV do
    if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 1 then
        adopted = adopted + redis.call('ZADD', KEYS[2], 'NX', expiry, ARGV[i])
    end
end
return adopted
