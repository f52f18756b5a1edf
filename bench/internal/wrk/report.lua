-- Prints what was measured as one line of JSON. It has no part in the load.
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    'wrk-report {"Requests":%d,"Bytes":%d,"Micros":%d,"P50":%d,"P99":%d,"Connect":%d,"Read":%d,"Write":%d,"Status":%d,"Timeout":%d}\n',
    summary.requests, summary.bytes, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect, e.read, e.write, e.status, e.timeout))
end
