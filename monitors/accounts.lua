-- Writes accounts of some shards: alerts of changes, then figures, each only if newer than what is held; and agreements.
-- Numbers travel as strings where a double could not hold them. Returns how many alerts of each section were new; nothing
-- when the data is not what the writer found when it connected (wiped, or another log's): then nothing was written.
--
-- KEYS  meta, by_excess, by_utilization, alerts, changed, agreements, calls:open, calls:closed, calls:changed
-- ARGV  1 prefix of account hashes  2 of status sets  3 of quality sets  4 of books  5 of customer hashes
--       6 log id  7 epoch  8 window of alerts  9 meta field that counts writes of figures
--       10 prefix of the fields of a customer hash that name its accounts
--       11 prefix of call hashes  12 seconds that a call is kept which is over
--       13 meta field that counts writes of calls  14 bytes that the life of a call may have
--       15 msgpack {{names of the figure fields, then of the moment fields, then change}, {names of the alert fields},
--          {names of the call fields}, {names of those of agreements}}, {sections},
--          {agreements: {key, offset, {values in the order of the names}, id}}
--         section     {{shard's offset field, ts_ns field} or {} to leave meta as it is, {ts_ns, offset, rule_set}, entries}
--         entries     {id, {alerts} or false, figures or false, definition or false, book or false, state or false}
--         state       {status, quality} of an account whose figures follow later
--         alerts      change, values in the order of the names, call or false; change of the next, ...
--         call        {values in the order of the names, the last: the line that its life gets; due in seconds while it is
--                     open, else false, when it ended in seconds or false, is it new, {field, value, ...} of who
--                     acknowledged it or false, note as JSON or false}
--         figures     {excess in USD, utilization score, {values in the order of the names}}; 1 and 2 are status and quality
--         definition  {change, {field, value, ...}, customer}: who the account is; all its alerts up to change are written
--         book        bytes, of the same moment as figures would be
local call = redis.call
local meta, by_excess, by_utilization, alerts, changed, agreement_ids = unpack(KEYS, 1, 6)
local account_prefix, status_prefix, quality_prefix, book_prefix, customer_prefix = unpack(ARGV, 1, 5)
local window, writes, owned, call_prefix, keep, call_writes = unpack(ARGV, 8, 13)
local life_bytes = tonumber(ARGV[14])
local all_names, sections, agreements = unpack(cmsgpack.unpack(ARGV[15]))

local held_meta = call('HMGET', meta, 'log_id', 'epoch')
if held_meta[1] ~= ARGV[6] or held_meta[2] ~= ARGV[7] then return {} end

-- A command whose field names stay: fill(values, before) puts the values that stand after a place in theirs.
local function command(names, ...)
  local args = {...}
  local head = #args
  for place, name in ipairs(names) do args[head + 2 * place - 1] = name end
  local count = #names
  return args, function(values, before)
    for place = 1, count do args[head + 2 * place] = values[before + place] end
    return args
  end
end
local write_figures, fill_figures = command(all_names[1], 'HSET', '')
local _, fill_alert = command(all_names[2], 'XADD', alerts, 'MAXLEN', '~', window, '*')
local write_call, fill_call = command(all_names[3], 'HSET', '')
local alert_size, call_size = #all_names[2] + 2, #all_names[3]
local write_agreement, fill_agreement = command(all_names[4], 'HSET', '')

-- What goes into sets is gathered: one command for all members instead of one for each.
local leaving, joining, by_write, excesses, utilizations, due_of, ended_at = {}, {}, {}, {}, {}, {}, {}

local function member(sets, key, id)
  local members = sets[key] or {}
  members[#members + 1] = id
  sets[key] = members
end

local function move(prefix, before, after, id)
  if before == after then return end
  if before then member(leaving, prefix .. before, id) end
  member(joining, prefix .. after, id)
end

local function score(scored, number, id)
  local last = #scored
  scored[last + 1] = number
  scored[last + 2] = id
end

local function put_call(values)
  local id = values[1]
  local due, ended, is_new, acknowledged, note = unpack(values, call_size + 1, call_size + 5)
  local key = call_prefix .. id
  if not is_new then values[call_size] = longer(call('HGET', key, 'life'), values[call_size], life_bytes) end
  write_call[2] = key
  call(unpack(fill_call(values, 0)))
  if acknowledged then call('HSET', key, unpack(acknowledged)) end
  if note then
    local notes = cjson.decode(call('HGET', key, 'notes') or '[]')
    notes[#notes + 1] = cjson.decode(note)
    call('HSET', key, 'notes', cjson.encode(notes))
  end
  if ended then call('EXPIRE', key, keep) end
  due_of[id], ended_at[id] = due or nil, ended or nil
end

local function put(entry, moment)
  local id, new_alerts, figures, definition, book, state = unpack(entry)
  local key, offset, added = account_prefix .. id, moment[2], 0
  local held = call('HMGET', key, 'change', 'offset', 'status', 'quality')
  local change = held[1] or '-1'
  if new_alerts then
    local reached = tonumber(change)
    for at = 1, #new_alerts, alert_size do
      local number = tonumber(new_alerts[at])
      if number > reached then
        call(unpack(fill_alert(new_alerts, at)))
        local of_call = new_alerts[at + alert_size - 1]
        if of_call then put_call(of_call) end
        change, reached = new_alerts[at], number
        added = added + 1
      end
    end
  end
  if definition then
    call('HSET', key, unpack(definition[2]))
    call('HSET', customer_prefix .. definition[3], owned .. id, '')
    if tonumber(definition[1]) > tonumber(change) then change = definition[1] end
  end
  local is_new = tonumber(offset) >= tonumber(held[2] or '-1')
  if figures and is_new then
    local values = figures[3]
    local last = #values
    move(status_prefix, held[3], values[1], id)
    move(quality_prefix, held[4], values[2], id)
    score(excesses, figures[1], id)
    score(utilizations, figures[2], id)
    by_write[#by_write + 1] = id
    for place, value in ipairs(moment) do values[last + place] = value end
    values[last + #moment + 1] = change
    write_figures[2] = key
    call(unpack(fill_figures(values, 0)))
  elseif state and held[3] and is_new then
    move(status_prefix, held[3], state[1], id)
    move(quality_prefix, held[4], state[2], id)
    by_write[#by_write + 1] = id
    call('HSET', key, 'status', state[1], 'quality', state[2], 'change', change)
  elseif change ~= (held[1] or '-1') then
    call('HSET', key, 'change', change)
  end
  if book and is_new then call('SET', book_prefix .. id, book) end
  return added
end

local added = {}
for place, section in ipairs(sections) do
  local shard, moment, entries = unpack(section)
  added[place] = 0
  for _, entry in ipairs(entries) do added[place] = added[place] + put(entry, moment) end
  if shard[1] and tonumber(moment[2]) >= tonumber(call('HGET', meta, shard[1]) or '-1') then
    call('HSET', meta, shard[1], moment[2], shard[2], moment[1])
  end
end

for key, members in pairs(leaving) do call('SREM', key, unpack(members)) end
for key, members in pairs(joining) do call('SADD', key, unpack(members)) end
if #excesses > 0 then
  call('ZADD', by_excess, unpack(excesses))
  call('ZADD', by_utilization, unpack(utilizations))
end
if #by_write > 0 then
  local number, scored = call('HINCRBY', meta, writes, #by_write) - #by_write, {}
  for place, id in ipairs(by_write) do score(scored, number + place, id) end
  call('ZADD', changed, unpack(scored))
end
list_calls({unpack(KEYS, 7, 9)}, meta, call_writes, keep, due_of, ended_at)

for _, one in ipairs(agreements) do
  local key, offset, values, id = unpack(one)
  if tonumber(offset) >= tonumber(call('HGET', key, 'offset') or '-1') then
    write_agreement[2] = key
    call(unpack(fill_agreement(values, 0)))
    call('SADD', agreement_ids, id)
  end
end
return added
