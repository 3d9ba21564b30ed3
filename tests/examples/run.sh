#!/bin/bash
# The examples, run and checked as far as this machine can.
#
#   tests/examples/run.sh BINARY
#
# Python packages are installed in pinned versions under target/examples. What cannot be checked here is said and counted as
# skipped. The last line reads `N passed, N failed, N skipped`; the exit code is 0 when none failed and one passed.
set -u
[ $# -eq 1 ] || { sed -n '2,7p' "$0"; exit 2; }
binary=$(realpath "$1") here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.." || exit 1
work=$PWD/target/examples python=$PWD/target/examples/venv/bin/python
mkdir -p "$work"
passed=0 failed=0 skipped=0

# run NAME COMMAND...
run() {
    local name=$1
    shift
    if "$@" >"$work/$name.out" 2>&1; then
        echo "ok      $name"
        passed=$((passed + 1))
    else
        echo "FAILED  $name"
        sed 's/^/        /' "$work/$name.out" | tail -30
        failed=$((failed + 1))
    fi
}

skip() {
    echo "skipped $1: $2"
    skipped=$((skipped + 1))
}

# The unit as it is, but for where the binary lies and a reader of manuals.
unit() {
    sed "s#/usr/local/bin/pannier#$binary#" examples/systemd/pannier.service >"$work/pannier.service"
    systemd-analyze verify --man=no "$work/pannier.service" &&
        systemd-analyze security --no-pager --offline=yes --threshold=15 "$work/pannier.service"
}

# Each system call that the server makes from start to stop, driven past its memory, is one that the unit allows.
system_calls() {
    local trace=$work/trace log=$work/server.log pid load=1
    strace -f -o "$trace" "$binary" serve --memory 48MiB --tcp 127.0.0.1:0 --admin 127.0.0.1:0 2>"$log" &
    pid=$!
    for _ in $(seq 100); do
        grep -q listening "$log" && break
        sleep 0.05
    done
    # shellcheck disable=SC2046
    timeout 120 python3 -B tests/container/load.py $(sed -n 's/.* tcp=\([^ ]*\) .* admin=\([^ ]*\).*/\1 \2/p' "$log") && load=0
    kill -TERM "$(awk '{ print $1; exit }' "$trace")" && wait $pid && [ $load -eq 0 ] &&
        python3 -B "$here/system_calls.py" "$trace" examples/systemd/pannier.service
}

if { [ -x "$python" ] || python3 -m venv "$work/venv"; } >"$work/venv.out" 2>&1 &&
    "$python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt" >"$work/pip.out" 2>&1; then
    run web timeout 120 "$python" -B examples/web/test_app.py "$binary"
    run yaml timeout 120 "$python" -B "$here/check_yaml.py" "$binary"
else
    skip web "the Python packages cannot be installed here ($work/pip.out)"
    skip yaml "the Python packages cannot be installed here ($work/pip.out)"
fi
if command -v systemd-analyze >/dev/null; then
    run unit unit
    if command -v strace >/dev/null; then
        run system_calls system_calls
    else
        skip system_calls "there is no strace here"
    fi
else
    skip unit "there is no systemd-analyze here"
    skip system_calls "there is no systemd-analyze here"
fi
echo "examples: $passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
