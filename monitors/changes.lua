-- Reads hashes that were written after a mark, oldest write first; it changes nothing.
--
-- KEYS  meta, the sorted set of ids by the number of their write[, by_excess]
-- ARGV  1 prefix of the hashes  2 epoch that the mark belongs to  3 mark  4 how many at most  5.. fields
-- Returns msgpack {epoch or false, new mark, {{id, excess in USD or false, field values or false ...}, ...}}; of another epoch
-- all is read from its start.
local call = redis.call
local epoch = call('HGET', KEYS[1], 'epoch')
local mark = epoch == ARGV[2] and ARGV[3] or '0'
local found = call('ZRANGEBYSCORE', KEYS[2], '(' .. mark, '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[4])
local ids, rows = {}, {}
for place = 1, #found, 2 do
  local id = found[place]
  ids[#ids + 1] = id
  rows[#rows + 1] = {id, false, unpack(call('HMGET', ARGV[1] .. id, unpack(ARGV, 5)))}
  mark = found[place + 1]
end
if KEYS[3] and #ids > 0 then
  for place, excess in ipairs(call('ZMSCORE', KEYS[3], unpack(ids))) do rows[place][2] = excess end
end
return cmsgpack.pack({epoch, mark, rows})
