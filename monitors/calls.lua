-- Writes the open margin calls of one shard, all of them, after an outage or when a shard is taken over: every alert of the
-- shard was written before. Open calls that Redis has of the shard and that are none are OVER: it missed how they ended.
-- What the log made later than the engine is (a worker that catches up with what another wrote) stays as it is. The engine
-- knows no history: the life of a call is what the window of alerts gave it.
-- Returns 0, and nothing is written, when the data is not what the writer found when it connected.
--
-- KEYS  meta, calls:open, calls:closed, calls:changed
-- ARGV  1 prefix of call hashes  2 log id  3 epoch  4 seconds that a call is kept which is over
--       5 meta field that counts writes of calls  6 bytes that the life of a call may have
--       7 shard  8 log offset of its next frame  9 its engine time in ns  10 msgpack {{id, due in seconds, {field, value, ...}}}
local call = redis.call
local meta, open_calls = KEYS[1], KEYS[2]
local prefix, keep, shard, offset, now_ns = ARGV[1], ARGV[4], ARGV[7], tonumber(ARGV[8]), ARGV[9]

local held_meta = call('HMGET', meta, 'log_id', 'epoch')
if held_meta[1] ~= ARGV[2] or held_meta[2] ~= ARGV[3] then return 0 end

local is_open, due_of, ended_at, nowhere = {}, {}, {}, {}
for _, one in ipairs(cmsgpack.unpack(ARGV[10])) do
  local id, due, fields = unpack(one)
  is_open[id] = true
  if tonumber(call('HGET', prefix .. id, 'offset') or '-1') < offset then
    call('HSET', prefix .. id, unpack(fields))
    call('PERSIST', prefix .. id)
    due_of[id] = due
  end
end
for _, id in ipairs(call('ZRANGE', open_calls, 0, -1)) do
  local of, at, amount, received, life = unpack(call('HMGET', prefix .. id, 'shard', 'offset', 'amount', 'received', 'life'))
  if not of then
    nowhere[#nowhere + 1] = id
  elseif of == shard and not is_open[id] and tonumber(at) < offset then
    local line = table.concat({'over', now_ns, amount, received}, ' ')
    call('HSET', prefix .. id, 'state', 'OVER', 'ts_ns', now_ns, 'life', longer(life, line, tonumber(ARGV[6])))
    call('EXPIRE', prefix .. id, keep)
    ended_at[id] = math.floor(tonumber(now_ns) / 1e9)
  end
end
in_parts('ZREM', open_calls, nowhere)
list_calls({unpack(KEYS, 2, 4)}, meta, ARGV[5], keep, due_of, ended_at)
return 1
