#!/bin/bash
# redis-benchmark with pipelines and without: redis_benchmark.sh PORT
set -u -o pipefail
port=$1
bench() { timeout 120 redis-benchmark -p "$port" -q "$@" 2>&1 | tr '\r' '\n' | grep -a -v 'rps=' | grep -a .; }

out=$(bench -t ping,set,get,incr,mset -P 16 -n 20000 && bench -t set,get -n 5000 -d 4000 -r 1000 && bench -3 -t get,set -n 5000) || {
    echo "$out" >&2
    exit 1
}
echo "$out"
if grep -a -q -i -E 'error|warn|could not' <<<"$out"; then exit 1; fi
[ "$(grep -a -c 'requests per second' <<<"$out")" -ge 10 ]
