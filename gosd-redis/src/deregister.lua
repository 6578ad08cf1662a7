-- Removes an instance, if it is there.
-- KEYS: registry, leases, meta, events. ARGV: id, entries to keep.
local removed = redis.call('HDEL', KEYS[1], ARGV[1]) + redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
if removed > 0 then
    redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[2], '*', 'op', 'remove', 'id', ARGV[1])
end
return removed
