-- Every ephemeral operation, so that each is atomic and one round trip.
--
-- A value is stored as "<expiry>:<value>", the expiry in microseconds of the caller's clock: what has expired is
-- absent, whether or not Redis has collected it yet. The time to live given to Redis is longer by a margin.
--
-- KEYS     one key for each check, or the one key of the other operations
-- ARGV[1]  the operation   ARGV[2]  microseconds to add to the time of Redis   ARGV[3]  the margin in milliseconds

local operation, margin = ARGV[1], tonumber(ARGV[3])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2]) + tonumber(ARGV[2])

local function load(key)
  local stored = redis.call('GET', key)
  if not stored then return nil end
  local expires, value = string.match(stored, '^(%-?%d+):(.*)$')
  expires = tonumber(expires)
  if not expires or expires <= now then return nil end
  return { value = value, expires = expires }
end

local function store(key, value, expires)
  local life = math.max(0, math.ceil((expires - now) / 1000)) + margin
  redis.call('SET', key, string.format('%.0f:', expires) .. value, 'PX', string.format('%.0f', life))
end

-- What is no number counts as the highest: a key of the wrong kind must refuse.
local function number(entry)
  return string.match(entry.value, '^%-?%d+$') and tonumber(entry.value) or math.huge
end

local function left(entry)
  return entry and math.max(0, entry.expires - now) or 0
end

local function decide()
  local refused, pending, before, after = -1, {}, {}, {}
  for index, key in ipairs(KEYS) do
    local at = 4 + (index - 1) * 4
    local kind, passes = ARGV[at], nil
    if kind == 'unchanged' then
      local old = load(key)
      passes = not old or number(old) <= tonumber(ARGV[at + 1])
    elseif kind == 'absent' then
      passes = not load(key)
    else
      local limit, period, cost = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
      local old = pending[key] or load(key)
      local count = old and number(old) or 0
      local new = old
      if cost > 0 then
        new = { value = count + cost, expires = old and old.expires or now + period }
        pending[key] = new
      end
      passes = count + cost <= limit
      table.insert(before, math.max(0, limit - count))
      table.insert(before, left(old))
      table.insert(after, math.max(0, limit - count - cost))
      table.insert(after, left(new))
    end
    if not passes and refused < 0 then refused = index - 1 end
  end
  local states = before
  if refused < 0 then
    for key, entry in pairs(pending) do store(key, string.format('%.0f', entry.value), entry.expires) end
    states = after
  end
  table.insert(states, 1, refused)
  return states
end

local key, value, expires = KEYS[1], ARGV[4], now + tonumber(ARGV[5] or 0)

if operation == 'decide' then
  return decide()
elseif operation == 'raise' then
  local old = load(key)
  if old then
    expires = math.max(expires, old.expires)
    if number(old) > tonumber(value) then value = old.value end
  end
  store(key, value, expires)
  return 1
elseif operation == 'put_if_absent' then
  if load(key) then return 0 end
  store(key, value, expires)
  return 1
elseif operation == 'get' then
  local old = load(key)
  return old and old.value or false
elseif operation == 'forget' then
  local old = load(key)
  redis.call('DEL', key)
  return old and 1 or 0
end
return redis.error_reply('no such operation')
