-- What wrk says at the end, as one line of JSON. Arguments of the script choose the requests.
--   close         a new connection for each request
--   upload        POST of 1 MiB
--   routes N      /r0/small to /rN-1/small, one after the other

local requests, nth = {}, 0

function init(args)
  if args[1] == "close" then
    wrk.headers["Connection"] = "close"
  elseif args[1] == "upload" then
    wrk.method = "POST"
    wrk.headers["Content-Type"] = "application/octet-stream"
    wrk.body = string.rep("0123456789abcdef", 65536)
  elseif args[1] == "routes" then
    for i = 0, tonumber(args[2]) - 1 do
      requests[#requests + 1] = wrk.format("GET", "/r" .. i .. "/small")
    end
    request = function()
      nth = nth % #requests + 1
      return requests[nth]
    end
    return
  end
  local one = wrk.format()
  request = function() return one end
end

function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format(
    '\nJSON {"requests":%d,"bytes":%d,"seconds":%.6f,"p50_us":%d,"p99_us":%d,' ..
    '"errors":{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}}\n',
    summary.requests, summary.bytes, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
    e.connect, e.read, e.write, e.status, e.timeout))
end
