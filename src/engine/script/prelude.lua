-- What scripts find: Lua 5.1's own libraries without what a sandbox must not have, with guards around what its C code
-- does not check. Runs once, when the VM is made, on the real globals; `host` holds functions of Rust. Every function
-- here reads locals alone, so that it needs no environment.
local host = ...
local G = _G
local error, type, tonumber, select = error, type, tonumber, select
local raw_pcall, raw_xpcall, raw_next, raw_pairs = pcall, xpcall, next, pairs
local raw_rawget, raw_rawset, raw_getmetatable = rawget, rawset, getmetatable
local raw_unpack, raw_collectgarbage = unpack, collectgarbage
local raw_setmetatable = setmetatable
local raw_insert, raw_remove, raw_sort = table.insert, table.remove, table.sort
local raw_resume, create, yield = coroutine.resume, coroutine.create, coroutine.yield
local plain, on_error = host.plain, host.on_error

-- Tables that scripts may read and not change: an empty proxy each, and what it shows. C code that writes into a table
-- without asking its metatable (rawset, table.insert) is kept away from the proxies.
local shown = {}
local READONLY = "Attempt to modify a readonly table"

local function readonly()
  error(READONLY, 2)
end

local function seal(real)
  local proxy = raw_setmetatable({}, { __index = real, __newindex = readonly, __metatable = false })
  shown[proxy] = real
  return proxy
end

-- Errors of Rust are userdata; scripts see what they would see of C: strings.
local function protected(ok, e, ...)
  if ok then
    return true, e, ...
  end
  if type(e) == "table" then
    local text = raw_rawget(e, "err")
    if type(text) == "string" then
      return false, text
    end
  end
  return false, plain(e)
end

G.pcall = function(...)
  return protected(raw_pcall(...))
end

-- The handler runs when the stack is unwound. (Where Lua calls it, an error of the hook that ends scripts would have
-- switched the hook off.)
local function handled(handler, ok, e, ...)
  if ok then
    return true, e, ...
  end
  local _, result = raw_pcall(handler, plain(e))
  return false, plain(result)
end

G.xpcall = function(f, handler)
  return handled(handler, raw_pcall(f))
end

G.rawset = function(t, k, v)
  if shown[t] then
    error(READONLY, 0)
  end
  return raw_rawset(t, k, v)
end

G.rawget = function(t, k)
  return raw_rawget(shown[t] or t, k)
end

G.getmetatable = function(x)
  if x ~= nil and shown[x] then
    return x == G._G and raw_getmetatable(G._G) or nil
  end
  return raw_getmetatable(x)
end

G.pairs = function(t)
  if t ~= nil and shown[t] then
    local copy = {}
    for k, v in raw_pairs(shown[t]) do
      copy[k] = v
    end
    t = copy
  end
  return raw_pairs(t)
end

-- The C function adds without asking whether the sum overflows (CVE-2025-46817).
-- The C stack of a call has 8,000 places, and the arguments take some of them.
local UNPACK_MAX = 7999
G.unpack = function(t, i, j)
  if type(t) ~= "table" then
    error("bad argument #1 to 'unpack' (table expected, got " .. (t == nil and "no value" or type(t)) .. ")", 2)
  end
  local first = i == nil and 1 or tonumber(i)
  local last = j
  if last == nil then
    last = #t
  else
    last = tonumber(last)
  end
  if first and last then
    if not (first >= -2147483648 and last <= 2147483647 and last - first < UNPACK_MAX - (j ~= nil and 2 or i ~= nil and 1 or 0)) then
      if last < first then
        return
      end
      error("too many results to unpack", 2)
    end
  end
  if j ~= nil then
    return raw_unpack(t, i, j)
  elseif i ~= nil then
    return raw_unpack(t, i)
  end
  return raw_unpack(t)
end

-- Scripts have no say in when memory is collected (cf. CVE-2024-46981).
G.collectgarbage = function(option)
  if option == "count" then
    return raw_collectgarbage("count")
  end
  return 0
end

G.load = function(f, name)
  local pieces, n = {}, 0
  while true do
    local piece = f()
    if piece == nil or piece == "" then
      break
    end
    n = n + 1
    pieces[n] = piece
  end
  return host.load(table.concat(pieces), name or "=(load)")
end

G.loadstring = function(text, name)
  return host.load(text, name)
end

-- A negative position makes the C function count down to it, up to 2^31 steps.
local POSITION_MIN = -1000
table.insert = function(...)
  local t, position = ...
  if shown[t] then
    error(READONLY, 0)
  end
  if select("#", ...) > 2 then
    position = tonumber(position)
    if position and not (position >= POSITION_MIN and position <= 2147483647) then
      error("bad argument #2 to 'insert' (position out of bounds)", 2)
    end
  end
  return raw_insert(...)
end

table.remove = function(t, ...)
  if shown[t] then
    error(READONLY, 0)
  end
  return raw_remove(t, ...)
end

-- Comparisons are made by Lua functions, whose instructions are counted.
local function less(a, b)
  return a < b
end

-- Elements that C may compare by itself: 10 ms of them at worst, for Lua 5.1's quicksort can be made quadratic.
local SORTED_BY_C_MAX = 1000

table.sort = function(t, compare)
  if shown[t] then
    error(READONLY, 0)
  end
  if compare == nil and type(t) == "table" and #t > SORTED_BY_C_MAX then
    return raw_sort(t, less)
  elseif type(compare) ~= "function" then
    return raw_sort(t, compare)
  end
  return raw_sort(t, function(a, b)
    return compare(a, b)
  end)
end

-- Coroutines within coroutines take the C stack, and Lua 5.1 does not count them (CVE-2021-43519).
local DEPTH_MAX = 8
local depth = 0

local function resumed(...)
  depth = depth - 1
  return protected(...)
end

local function resume(co, ...)
  if depth >= DEPTH_MAX then
    return false, "C stack overflow"
  end
  depth = depth + 1
  return resumed(raw_resume(co, ...))
end

coroutine.resume = resume

local function unwrapped(ok, ...)
  if ok then
    return ...
  end
  error((...), 0)
end

coroutine.wrap = function(f)
  local co = create(f)
  return function(...)
    return unwrapped(resume(co, ...))
  end
end

local gmatch_step = host.string.gmatch_step
host.string.gmatch_step = nil
for name, f in raw_pairs(host.string) do
  string[name] = f
end

string.gmatch = function(subject, pattern)
  local at = 0
  local function found(next_at, ...)
    at = next_at
    return ...
  end
  return function()
    if at then
      return found(gmatch_step(subject, pattern, at))
    end
  end
end
string.gfind = string.gmatch
string.dump = nil
math.random, math.randomseed = host.random, host.randomseed

for _, name in raw_next, { "dofile", "loadfile", "print", "newproxy", "getfenv", "setfenv", "require", "module", "package" } do
  G[name] = nil
end

raw_setmetatable(G, {
  __index = function(_, name)
    error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
  end,
})

local redis = host.redis
for _, name in raw_next, { "table", "math", "coroutine" } do
  G[name] = seal(G[name])
end
local strings = seal(string)
G.string = strings
local mt = raw_getmetatable("")
mt.__index = string
mt.__metatable = seal({ __index = strings })
for _, name in raw_next, { "cjson", "cmsgpack", "bit", "struct" } do
  G[name] = seal(host[name])
end
G.redis = seal(redis)
G._G = seal(G)

local compiled = host.compiled

local function enter(number, keys, argv)
  G.KEYS, G.ARGV, depth = keys, argv, 0
  return raw_xpcall(compiled[number], on_error)
end

-- The tables are made here, which takes fewer calls into C than from outside.
local function enter_short(number, key, ...)
  G.KEYS, G.ARGV, depth = { key }, { ... }, 0
  return raw_xpcall(compiled[number], on_error)
end

return enter, enter_short, G._G
