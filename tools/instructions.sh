#!/bin/sh
# User-space instructions of a GET, a SET and others through the whole server in process (benches/instructions.rs), at several
# depths of pipelining, counted by callgrind inside `measured`: taking the bytes in, running them, giving the replies
# out, a copy of both included.
#
# tools/instructions.sh [keys]        needs valgrind; prints one line for each verb and depth
set -eu
keys=${1:-100000}
cd "$(dirname "$0")/.."
bench=$(cargo bench --bench instructions --no-run 2>&1 | sed -n 's/.*(\(.*instructions-[0-9a-f]*\)).*/\1/p')
out=$(mktemp)
trap 'rm -f "$out"' EXIT
for verb in get set ttl exists incr setnx setex getex expire; do
    for depth in 1 16 64 100; do
        valgrind --tool=callgrind --callgrind-out-file=/dev/null --toggle-collect='*measured*' \
            "$bench" --count "$verb" "$depth" "$keys" >"$out" 2>&1
        requests=$(sed -n 's/.*requests *\([0-9]*\):.*/\1/p' "$out")
        collected=$(sed -n 's/.*Collected : \([0-9]*\).*/\1/p' "$out")
        echo "$verb depth $depth: $((collected / requests)) instructions"
    done
done
