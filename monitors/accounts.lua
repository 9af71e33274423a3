-- Writes accounts of some shards: alerts of changes, then figures, each only if newer than what is held; and agreements.
-- Numbers travel as strings where a double could not hold them. Returns how many alerts of each section were new; nothing
-- when the data is not what the writer found when it connected (wiped, or another log's): then nothing was written.
--
-- KEYS  meta, by_excess, by_utilization, alerts, changed, calls:open, agreements
-- ARGV  1 prefix of account hashes  2 of status sets  3 of quality sets  4 of books  5 of customer hashes
--       6 log id  7 epoch  8 window of alerts  9 meta field that counts writes of figures
--       10 prefix of the fields of a customer hash that name its accounts
--       11 prefix of call hashes  12 seconds that a call is kept which is over
--       13 msgpack {{names of the figure fields, then of the moment fields}, {names of the alert fields}, {names of those of
--          agreements}}, {sections}, {agreements: {key, offset, {values in the order of the names}, id}}
--         section     {{shard's offset field, ts_ns field} or {} to leave meta as it is, {ts_ns, offset, rule_set}, entries}
--         entries     {id, alert or false, figures or false, definition or false, book or false}
--         alert       {change, {values in the order of the names}, call or false}
--         call        {id, due in seconds while it is open, else false, {field, value, ...}, note as JSON or false}
--         figures     {excess in USD, utilization score, {values in the order of the names}}; 1 and 2 are status and quality
--         definition  {change, {field, value, ...}, customer}: who the account is; all its alerts up to change are written
--         book        bytes, of the same moment as figures would be
local call = redis.call
local meta, by_excess, by_utilization, alerts, changed, open_calls, agreement_ids = unpack(KEYS)
local account_prefix, status_prefix, quality_prefix, book_prefix, customer_prefix = unpack(ARGV, 1, 5)
local window, writes, owned, call_prefix, keep = unpack(ARGV, 8, 12)
local all_names, sections, agreements = unpack(cmsgpack.unpack(ARGV[13]))
local names, alert_names, agreement_names = unpack(all_names)

local held_meta = call('HMGET', meta, 'log_id', 'epoch')
if held_meta[1] ~= ARGV[6] or held_meta[2] ~= ARGV[7] then return {} end

local function move(prefix, before, after, id)
  if before == after then return end
  if before then call('SREM', prefix .. before, id) end
  call('SADD', prefix .. after, id)
end

local function write_call(id, due, fields, note)
  local key = call_prefix .. id
  call('HSET', key, unpack(fields))
  if note then
    local notes = cjson.decode(call('HGET', key, 'notes') or '[]')
    notes[#notes + 1] = cjson.decode(note)
    call('HSET', key, 'notes', cjson.encode(notes))
  end
  if due then
    call('ZADD', open_calls, due, id)
    call('PERSIST', key)
  else
    call('ZREM', open_calls, id)
    call('EXPIRE', key, keep)
  end
end

local function write(shard, moment, entries)
  local added, offset, written = 0, moment[2], {}
  for _, entry in ipairs(entries) do
    local id, alert, figures, definition, book = unpack(entry)
    local key = account_prefix .. id
    local held = call('HMGET', key, 'change', 'offset', 'status', 'quality')
    local held_change = tonumber(held[1] or '-1')
    local fields = {}
    if alert and tonumber(alert[1]) > held_change then
      for place, name in ipairs(alert_names) do
        fields[2 * place - 1] = name
        fields[2 * place] = alert[2][place]
      end
      call('XADD', alerts, 'MAXLEN', '~', window, '*', unpack(fields))
      fields = {'change', alert[1]}
      held_change = tonumber(alert[1])
      if alert[3] then write_call(unpack(alert[3])) end
      added = added + 1
    end
    if definition then
      for _, text in ipairs(definition[2]) do fields[#fields + 1] = text end
      call('HSET', customer_prefix .. definition[3], owned .. id, '')
      if tonumber(definition[1]) > held_change then
        fields[#fields + 1] = 'change'
        fields[#fields + 1] = definition[1]
      end
    end
    if figures and tonumber(offset) >= tonumber(held[2] or '-1') then
      local values = figures[3]
      move(status_prefix, held[3], values[1], id)
      move(quality_prefix, held[4], values[2], id)
      call('ZADD', by_excess, figures[1], id)
      call('ZADD', by_utilization, figures[2], id)
      written[#written + 1] = id
      local last = #fields
      for place, name in ipairs(names) do
        fields[last + 2 * place - 1] = name
        fields[last + 2 * place] = values[place] or moment[place - #values]
      end
    end
    if book and tonumber(offset) >= tonumber(held[2] or '-1') then call('SET', book_prefix .. id, book) end
    if #fields > 0 then call('HSET', key, unpack(fields)) end
  end
  if #written > 0 then
    local number, scored = call('HINCRBY', meta, writes, #written) - #written, {}
    for place, id in ipairs(written) do
      scored[2 * place - 1] = number + place
      scored[2 * place] = id
    end
    call('ZADD', changed, unpack(scored))
  end
  if shard[1] and tonumber(offset) >= tonumber(call('HGET', meta, shard[1]) or '-1') then
    call('HSET', meta, shard[1], offset, shard[2], moment[1])
  end
  return added
end

local added = {}
for place, section in ipairs(sections) do added[place] = write(unpack(section)) end
for _, one in ipairs(agreements) do
  local key, offset, values, id = unpack(one)
  if tonumber(offset) >= tonumber(call('HGET', key, 'offset') or '-1') then
    local fields = {}
    for place, name in ipairs(agreement_names) do
      fields[2 * place - 1] = name
      fields[2 * place] = values[place]
    end
    call('HSET', key, unpack(fields))
    call('SADD', agreement_ids, id)
  end
end
return added
