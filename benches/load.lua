-- wrk's side: plays the requests of a file one after the other, over and over, and prints what
-- happened as one line of JSON. One thread only: each would keep its own place in the file.

local requests, place = {}, 0

function init(arguments)
  for line in io.lines(arguments[1]) do
    local headers = {}
    if line ~= "-" then headers["Authorization"] = "Bearer " .. line end
    -- Formatted once, so that the client does the least in the loop.
    requests[#requests + 1] = wrk.format("GET", "/bench", headers)
  end
end

function request()
  place = place % #requests + 1
  return requests[place]
end

function done(summary, latency)
  io.write(string.format(
    'RESULT {"requests":%d,"duration_us":%d,"p50_us":%.1f,"p99_us":%.1f,"status_errors":%d,"socket_errors":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
