-- wrk's side: plays the requests of a file one after the other, over and over, and prints what
-- happened as one line of JSON. One thread only: each would keep its own place in the file.
--
-- A record is its length in eight digits and the request as it goes over the wire (benches/traffic.py).
-- Arguments: the file, `memory` or `stream`, and where to begin (a record's number, or its offset).

local requests, place = {}, 0
local file, first

local function record(from)
  local length = from:read(8)
  return length and from:read(tonumber(length))
end

function init(arguments)
  file = assert(io.open(arguments[1], "rb"))
  first = tonumber(arguments[3])
  if arguments[2] == "stream" then
    -- More than LuaJIT could hold.
    file:setvbuf("full", 1048576)
    file:seek("set", first)
    request = function()
      local one = record(file)
      if not one then
        file:seek("set", 0)
        one = record(file)
      end
      return one
    end
  else
    -- Read once, so that the client does the least in the loop.
    for one in function() return record(file) end do requests[#requests + 1] = one end
    place = first % #requests
    request = function()
      place = place % #requests + 1
      return requests[place]
    end
  end
end

function done(summary, latency)
  io.write(string.format(
    'RESULT {"requests":%d,"duration_us":%d,"p50_us":%.1f,"p99_us":%.1f,"status_errors":%d,"socket_errors":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
