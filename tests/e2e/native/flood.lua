-- wrk's side of a flood: plays the tokens of a file one after the other, once, with a pause (milliseconds) on each connection.

local requests, place, pause = {}, 0, 0

function init(arguments)
  for line in io.lines(arguments[1]) do
    requests[#requests + 1] = wrk.format("GET", nil, { ["Authorization"] = "Bearer " .. line })
  end
  pause = tonumber(arguments[2])
end

function delay()
  return math.floor(pause * (0.5 + math.random()) + 0.5)
end

function request()
  place = place + 1
  if place > #requests then
    place = #requests
    wrk.thread:stop()
  end
  return requests[place]
end

function done(summary, latency)
  io.write(string.format('RESULT {"requests":%d,"duration_us":%d,"status_errors":%d,"socket_errors":%d}\n',
    summary.requests, summary.duration, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
