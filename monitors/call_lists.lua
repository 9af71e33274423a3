-- What accounts.lua and calls.lua share: it stands before each of them.

-- The life of a call with one more line; where it gets longer than so many bytes, its oldest lines go.
local function longer(life, line, most)
  life = life and life .. '\n' .. line or line
  if #life > most then life = string.sub(life, string.find(life, '\n', #life - most, true) + 1) end
  return life
end

-- A command on a set with all these values, in parts: Lua hands over some thousand at once at most.
local function in_parts(name, key, values)
  for first = 1, #values, 2000 do redis.call(name, key, unpack(values, first, math.min(first + 1999, #values))) end
end

-- Puts calls into their lists: open ones by when they are due, those over by when they ended, all by the number of the write,
-- counted in a field of meta. due_of, ended_at: seconds by id. What ended more than `keep` seconds before leaves the lists.
local function list_calls(lists, meta, counter, keep, due_of, ended_at)
  local open, closed, changed = unpack(lists)
  local opened, ended, over, written, newest = {}, {}, {}, {}, 0
  for id, due in pairs(due_of) do
    opened[#opened + 1], opened[#opened + 2] = due, id
    written[#written + 1] = id
  end
  for id, at in pairs(ended_at) do
    over[#over + 1], over[#over + 2] = at, id
    ended[#ended + 1], written[#written + 1] = id, id
    newest = math.max(newest, at)
  end
  if #written == 0 then return end
  local numbered, number = {}, redis.call('HINCRBY', meta, counter, #written) - #written
  for place, id in ipairs(written) do numbered[#numbered + 1], numbered[#numbered + 2] = number + place, id end
  in_parts('ZADD', open, opened)
  in_parts('ZREM', open, ended)
  in_parts('ZADD', closed, over)
  in_parts('ZADD', changed, numbered)
  if #ended > 0 then
    local old = redis.call('ZRANGEBYSCORE', closed, '-inf', newest - keep, 'LIMIT', 0, 1000)
    in_parts('ZREM', closed, old)
    in_parts('ZREM', changed, old)
  end
end

