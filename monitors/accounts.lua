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
--       15 msgpack {{names of the figure fields, then of the moment fields, then change}, {names of those of agreements}},
--          {sections}, {agreements: {key, offset, {values in the order of the names}, id}}
--         section     {{shard's offset field, ts_ns field} or {} to leave meta as it is, {ts_ns, offset, rule_set}, states,
--                     entries}
--         states      {status, quality, {ids}} of accounts whose figures follow later; {of others}, ...
--         entries     {id, alerts or false, figures or false, definition or false, book or false}
--         alerts      {currency, shard, change, kind, from, to, amount, ts_ns, offset, call or false, change of the next, ...}
--         call        {id, customer, pool, received, issued_ns, due_ns, event, due in seconds while it is open, else false, when
--                     it ended in seconds or false, is it new, {field, value, ...} of who acknowledged it or false, note as
--                     JSON or false}
--         figures     {excess in USD, utilization score, {values in the order of the names}}; 1 and 2 are status and quality
--         definition  {change, {field, value, ...}, customer}: who the account is; all its alerts up to change are written
--         book        bytes, of the same moment as figures would be
local call = redis.call
local meta, by_excess, by_utilization, alerts, changed, agreement_ids = unpack(KEYS, 1, 6)
local account_prefix, status_prefix, quality_prefix, book_prefix, customer_prefix = unpack(ARGV, 1, 5)
local window, writes, owned, call_prefix, keep, call_writes = unpack(ARGV, 8, 13)
local life_bytes = tonumber(ARGV[14])
local all_names, sections, agreements = unpack(cmsgpack.unpack(ARGV[15]))
local figure_names, agreement_names = unpack(all_names)

local held_meta = call('HMGET', meta, 'log_id', 'epoch')
if held_meta[1] ~= ARGV[6] or held_meta[2] ~= ARGV[7] then return {} end

-- Writes hashes whose field names stay: the command is filled in anew, not made.
local function writer(names)
  local args, count = {'HSET', ''}, #names
  for place, name in ipairs(names) do args[2 * place + 1] = name end
  return function(key, values)
    args[2] = key
    for place = 1, count do args[2 * place + 2] = values[place] end
    call(unpack(args))
  end
end
local write_figures, write_agreement = writer(figure_names), writer(agreement_names)

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

-- Names and their order here are those of CALL_FIELDS and ALERT_FIELDS in keys.py.
local function put_call(account, currency, shard, change, state, amount, ts_ns, offset, values)
  local id, customer, pool, received, issued_ns, due_ns, event, due, ended, is_new, acknowledged, note = unpack(values, 1, 12)
  local key = call_prefix .. id
  local life = event .. ' ' .. ts_ns .. ' ' .. amount .. ' ' .. received
  if not is_new then life = longer(call('HGET', key, 'life'), life, life_bytes) end
  call('HSET', key, 'id', id, 'account', account, 'customer', customer, 'pool', pool, 'currency', currency, 'state', state,
    'amount', amount, 'received', received, 'issued_ns', issued_ns, 'due_ns', due_ns, 'ts_ns', ts_ns, 'change', change,
    'shard', shard, 'offset', offset, 'life', life)
  if acknowledged then call('HSET', key, unpack(acknowledged)) end
  if note then
    local notes = cjson.decode(call('HGET', key, 'notes') or '[]')
    notes[#notes + 1] = cjson.decode(note)
    call('HSET', key, 'notes', cjson.encode(notes))
  end
  if ended then call('EXPIRE', key, keep) end
  due_of[id], ended_at[id] = due or nil, ended or nil
end

-- Writes those alerts of an account that come after a change; returns the last change that is written, and how many were.
local function put_alerts(account, some, change)
  local currency, shard, reached, added = some[1], some[2], tonumber(change), 0
  for at = 3, #some, 8 do
    local number, kind, from, to, amount, ts_ns, offset, of_call = unpack(some, at, at + 7)
    if tonumber(number) > reached then
      call('XADD', alerts, 'MAXLEN', '~', window, '*', 'id', account .. ':' .. number, 'kind', kind, 'account', account,
        'from', from, 'to', to, 'amount', amount, 'currency', currency, 'ts_ns', ts_ns, 'shard', shard, 'offset', offset)
      if of_call then put_call(account, currency, shard, number, to, amount, ts_ns, offset, of_call) end
      change, reached, added = number, tonumber(number), added + 1
    end
  end
  return change, added
end

local function put_states(some, offset)
  local status, quality, ids = unpack(some)
  for _, id in ipairs(ids) do
    local key = account_prefix .. id
    local held = call('HMGET', key, 'offset', 'status', 'quality')
    if held[2] and tonumber(offset) >= tonumber(held[1]) then
      move(status_prefix, held[2], status, id)
      move(quality_prefix, held[3], quality, id)
      by_write[#by_write + 1] = id
      call('HSET', key, 'status', status, 'quality', quality)
    end
  end
end

local function put(entry, moment)
  local id, new_alerts, figures, definition, book = unpack(entry)
  local key, offset, added = account_prefix .. id, moment[2], 0
  local held = call('HMGET', key, 'change', 'offset', 'status', 'quality')
  local change = held[1] or '-1'
  if new_alerts then change, added = put_alerts(id, new_alerts, change) end
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
    write_figures(key, values)
  elseif change ~= (held[1] or '-1') then
    call('HSET', key, 'change', change)
  end
  if book and is_new then call('SET', book_prefix .. id, book) end
  return added
end

local added = {}
for place, section in ipairs(sections) do
  local shard, moment, states, entries = unpack(section)
  added[place] = 0
  for _, some in ipairs(states) do put_states(some, moment[2]) end
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
    write_agreement(key, values)
    call('SADD', agreement_ids, id)
  end
end
return added
