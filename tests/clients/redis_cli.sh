#!/bin/bash
# redis-cli as people use it: redis_cli.sh PORT
set -u
cli() { timeout 20 redis-cli -p "$port" "$@"; }
port=$1

# expect WHAT GOT WANTED
expect() {
    [ "$2" = "$3" ] || { echo "$1: got '$2', wanted '$3'" >&2; exit 1; }
}

expect flush "$(cli flushall)" OK
expect ping "$(cli ping)" PONG
expect set "$(cli set k v)" OK
expect get "$(cli get k)" v
expect "resp3 get" "$(cli -3 get k)" v
expect "resp3 null" "$(cli -3 --no-raw get none)" "(nil)"
expect "other database" "$(cli -n 4 --no-raw get k)" "(nil)"
expect stdin "$(printf 'a value' | cli -x set from-stdin)" OK
expect "stdin back" "$(cli get from-stdin)" "a value"
expect session "$(printf 'set n 41\nincr n\nget n\n' | cli)" "$(printf 'OK\n42\n42')"
expect transaction "$(printf 'multi\nset a 1\nget a\nexec\n' | cli | tr '\n' ' ')" "OK QUEUED QUEUED OK 1 "
expect repeat "$(cli -r 3 incr repeated | tail -1)" 3
expect "error text" "$(cli set k 2>&1)" "ERR wrong number of arguments for 'set' command"

for i in $(seq 500); do echo "set scan:$i $i"; done | cli --pipe >/dev/null || { echo "--pipe failed" >&2; exit 1; }
expect scan "$(cli --scan --pattern 'scan:*' | sort -u | wc -l)" 500
cli command docs | grep -q "since" || { echo "COMMAND DOCS says nothing" >&2; exit 1; }
cli -3 command docs get | grep -q "summary" || { echo "COMMAND DOCS get says nothing" >&2; exit 1; }
cli info server | grep -q "redis_version:7" || { echo "INFO has no redis_version:7" >&2; exit 1; }
# The interactive start on a terminal asks COMMAND DOCS for its hints; `script` makes the terminal.
if command -v script >/dev/null; then
    out=$( (sleep 1; printf "get k\r"; sleep 1; printf "quit\r") | timeout 20 script -qec "stty cols 100; TERM=xterm redis-cli -p $port" /dev/null)
    grep -q '"v"' <<<"$out" || { echo "interactive: $out" >&2; exit 1; }
fi
expect flush "$(cli flushall)" OK
