-- Writes an instance and starts its lease anew. Comes after `fence.lua`.
-- More ARGV: id, URL, JSON or '', lease in ms, entries to keep.
local call, id, url, meta = redis.call, ARGV[4], ARGV[5], ARGV[6]
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local old_url = call('HGET', KEYS[1], id)
local lease = call('ZSCORE', KEYS[2], id)
local old_meta = call('HGET', KEYS[3], id) or ''

-- One that had expired was not in the snapshots, so watchers have to hear of it.
local live = lease and tonumber(lease) > now
if not (live and old_url == url and old_meta == meta) then
    -- First, so that a key of the wrong type stops the script before anything is written.
    call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[8], '*', 'op', 'put', 'id', id, 'url', url, 'meta', meta)
    call('HSET', KEYS[1], id, url)
    if meta ~= '' then
        call('HSET', KEYS[3], id, meta)
    elseif old_meta ~= '' then
        call('HDEL', KEYS[3], id)
    end
end
return call('ZADD', KEYS[2], now + ARGV[7], id)
