-- Writes the open margin calls of one shard, all of them, after an outage or when a shard is taken over: every alert of the
-- shard was written before. Open calls that Redis has of the shard and that are none are closed: it missed their end.
-- Returns 0, and nothing is written, when the data is not what the writer found when it connected.
--
-- KEYS  meta, calls:open
-- ARGV  1 prefix of call hashes  2 log id  3 epoch  4 shard  5 seconds that a call is kept which is over
--       6 msgpack {{id, due in seconds, {field, value, ...}}}
local call = redis.call
local meta, open_calls = KEYS[1], KEYS[2]
local prefix, shard, keep = ARGV[1], ARGV[4], ARGV[5]

local held_meta = call('HMGET', meta, 'log_id', 'epoch')
if held_meta[1] ~= ARGV[2] or held_meta[2] ~= ARGV[3] then return 0 end

local is_open = {}
for _, one in ipairs(cmsgpack.unpack(ARGV[6])) do
  local id, due, fields = unpack(one)
  is_open[id] = true
  call('HSET', prefix .. id, unpack(fields))
  call('PERSIST', prefix .. id)
  call('ZADD', open_calls, due, id)
end
for _, id in ipairs(call('ZRANGE', open_calls, 0, -1)) do
  local of = call('HGET', prefix .. id, 'shard')
  if not is_open[id] and (of == shard or not of) then
    call('ZREM', open_calls, id)
    call('EXPIRE', prefix .. id, keep)
  end
end
return 1
