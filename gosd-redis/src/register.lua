-- Writes an instance and starts its lease anew.
-- KEYS: registry, leases, meta, events. ARGV: id, URL, JSON or '', lease in ms, entries to keep.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local url = redis.call('HGET', KEYS[1], ARGV[1])
local lease = redis.call('ZSCORE', KEYS[2], ARGV[1])
local meta = redis.call('HGET', KEYS[3], ARGV[1]) or ''

-- One that had expired was not in the snapshots, so watchers have to hear of it.
local live = lease and tonumber(lease) > now
if not (live and url == ARGV[2] and meta == ARGV[3]) then
    -- First, so that a key of the wrong type stops the script before anything is written.
    redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[5], '*',
        'op', 'put', 'id', ARGV[1], 'url', ARGV[2], 'meta', ARGV[3])
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
    if ARGV[3] ~= '' then
        redis.call('HSET', KEYS[3], ARGV[1], ARGV[3])
    else
        redis.call('HDEL', KEYS[3], ARGV[1])
    end
end
return redis.call('ZADD', KEYS[2], now + ARGV[4], ARGV[1])
