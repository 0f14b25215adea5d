-- Every ephemeral operation, so that each is atomic and one round trip.
--
-- A value is stored as "<expiry>:<value>", the expiry in microseconds of the caller's clock: what has expired is
-- absent, whether or not Redis has collected it yet. The time to live given to Redis is longer by a margin.
--
-- KEYS     one key for each check, or the one key of the other operations
-- ARGV[1]  the operation   ARGV[2]  microseconds to add to the time of Redis   ARGV[3]  the margin in milliseconds

local call, find, sub, format, max = redis.call, string.find, string.sub, string.format, math.max
local operation, margin = ARGV[1], tonumber(ARGV[3])
local time = call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2]) + tonumber(ARGV[2])

-- The value of a key and its expiry; nothing where it has expired.
local function load(key)
  local stored = call('GET', key)
  local colon = stored and find(stored, ':', 2, true)
  local expires = colon and tonumber(sub(stored, 1, colon - 1))
  if expires and expires > now then return sub(stored, colon + 1), expires end
end

local function store(key, value, expires)
  local life = max(0, math.ceil((expires - now) / 1000)) + margin
  call('SET', key, format('%.0f:', expires) .. value, 'PX', format('%.0f', life))
end

-- What is no number counts as the highest: a key of the wrong kind must refuse.
local function number(value)
  return find(value, '^%-?%d+$') and tonumber(value) or math.huge
end

local function decide()
  local refused, windows, pending = -1, {}, {}
  for index, key in ipairs(KEYS) do
    local at = index * 4
    local kind, passes = ARGV[at], nil
    if kind == 'unchanged' then
      local value = load(key)
      passes = not value or number(value) <= tonumber(ARGV[at + 1])
    elseif kind == 'absent' then
      passes = not load(key)
    else
      local window = { key = key, limit = tonumber(ARGV[at + 1]), cost = tonumber(ARGV[at + 3]) }
      local before = pending[key]
      if before then
        window.count, window.stored = before.count + before.cost, before.stored
        window.expires = before.cost > 0 and before.ends or before.expires
      else
        local value, expires = load(key)
        local latest = now + tonumber(ARGV[at + 2])
        if expires and expires > latest then -- the clock was set back
          expires = latest
          store(key, value, expires)
        end
        window.count, window.stored, window.expires = value and number(value) or 0, expires, expires
      end
      window.ends = window.expires or now + tonumber(ARGV[at + 2])
      passes = window.count + window.cost <= window.limit
      pending[key], windows[#windows + 1] = window, window
    end
    if not passes and refused < 0 then refused = index - 1 end
  end
  local states = { refused }
  for index, window in ipairs(windows) do
    local count, expires = window.count, window.expires
    if refused < 0 and window.cost > 0 then
      count, expires = count + window.cost, window.ends
      if window.stored then
        call('SET', window.key, format('%.0f:%.0f', expires, count), 'KEEPTTL')
      else
        store(window.key, format('%.0f', count), expires)
      end
    end
    states[2 * index] = max(0, window.limit - count)
    states[2 * index + 1] = expires and expires - now or 0
  end
  return states
end

local key, value, expires = KEYS[1], ARGV[4], now + tonumber(ARGV[5] or 0)

if operation == 'decide' then
  return decide()
elseif operation == 'raise' then
  local old, until_then = load(key)
  if old then
    expires = max(expires, until_then)
    if number(old) > tonumber(value) then value = old end
  end
  store(key, value, expires)
  return 1
elseif operation == 'put_if_absent' then
  if load(key) then return 0 end
  store(key, value, expires)
  return 1
elseif operation == 'get' then
  return load(key) or false
elseif operation == 'forget' then
  local old = load(key)
  call('DEL', key)
  return old and 1 or 0
end
return redis.error_reply('no such operation')
