-- Removes an instance, if it is there. Comes after `fence.lua`. More ARGV: id, entries to keep.
local id = ARGV[4]
local removed = redis.call('HDEL', KEYS[1], id) + redis.call('ZREM', KEYS[2], id)
redis.call('HDEL', KEYS[3], id)
if removed > 0 then
    redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[5], '*', 'op', 'remove', 'id', id)
end
return removed
