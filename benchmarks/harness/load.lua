-- wrk's side of load.py: post the requests that its plan names in turn, and check every answer.
-- The plan is a Lua file, given as the script's only argument.

local ffi = require("ffi")
ffi.cdef [[
  typedef struct { long seconds; long nanoseconds; } timespec_t;
  int clock_gettime(int clock, timespec_t *time);
]]
local MONOTONIC = 1

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(arguments)
  plan = dofile(arguments[1])
  requests, times, turn, wrong, first_wrong = {}, {}, 0, 0, ""
  for index, path in ipairs(plan.bodies) do
    local file = assert(io.open(path, "rb"))
    requests[index] = wrk.format("POST", nil, { ["Content-Type"] = plan.content_type }, file:read("*a"))
    file:close()
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

local function is_right(status, body)
  local probability = status == 200 and tonumber(string.match(body, plan.pattern))
  if not probability then
    return false
  end
  for _, expected in ipairs(plan.expected) do
    if math.abs(probability - expected) <= plan.tolerance then
      return true
    end
  end
  return false
end

local time = ffi.new("timespec_t")

function response(status, _, body)
  ffi.C.clock_gettime(MONOTONIC, time)
  times[#times + 1] = string.format("%.6f", tonumber(time.seconds) + tonumber(time.nanoseconds) / 1e9)
  if not is_right(status, body) then
    wrong = wrong + 1
    first_wrong = status .. ": " .. string.sub(body, 1, 300)
  end
end

function done(summary, latency)
  local thread = threads[1]
  local errors = summary.errors
  io.write(string.format("\nconnection_errors %d\n", errors.connect + errors.read + errors.write + errors.timeout))
  io.write(string.format("wrong %d\n", thread:get("wrong")))
  io.write(string.format("first_wrong %s\n", string.gsub(thread:get("first_wrong"), "%s+", " ")))
  io.write(string.format("p50 %f\np99 %f\n", latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
  io.write("times " .. table.concat(thread:get("times"), " ") .. "\n")
end
