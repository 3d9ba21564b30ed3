#!/bin/bash
# Session tests with real clients in their default settings.
#
#   tests/clients/run.sh BINARY        starts `BINARY serve` on a free port and tests that
#   tests/clients/run.sh --at PORT     tests the server that listens on 127.0.0.1:PORT (its databases are emptied!)
#
# Clients are installed in pinned versions under target/clients. What cannot be installed is said and counted as skipped.
# The last line reads `N passed, N failed, N skipped`; the exit code is 0 when none failed and at least one passed.
set -u
here=$(cd "$(dirname "$0")" && pwd)
work=${CLIENTS_DIR:-$here/../../target/clients}
mkdir -p "$work" && work=$(cd "$work" && pwd)
passed=0 failed=0 skipped=0 server=

cleanup() { [ -z "$server" ] || kill "$server" 2>/dev/null; }
trap cleanup EXIT

start() {
    local log=$work/server.log
    "$1" serve --tcp 127.0.0.1:0 --udp off --admin off --memory 256MiB 2>"$log" &
    server=$!
    for _ in $(seq 100); do
        port=$(sed -n 's/.*tcp=[^ ]*:\([0-9][0-9]*\).*/\1/p' "$log" | head -1)
        [ -n "$port" ] && return
        kill -0 "$server" 2>/dev/null || break
        sleep 0.1
    done
    echo "$1 serve did not come up:" >&2
    cat "$log" >&2
    exit 1
}

# run NAME COMMAND...
run() {
    local name=$1 out=$work/$1.out
    shift
    if timeout 180 "$@" >"$out" 2>&1; then
        echo "ok      $name"
        passed=$((passed + 1))
    else
        echo "FAILED  $name"
        sed 's/^/        /' "$out" | tail -30
        failed=$((failed + 1))
    fi
}

# skip WHY NAME...
skip() {
    local why=$1
    shift
    for name in "$@"; do
        echo "skipped $name: $why"
        skipped=$((skipped + 1))
    done
}

python_clients() {
    local names="redis_py redis_py_async redis_py_pubsub django_cache django_redis_cache flask_session_app" python=$work/venv/bin/python
    if ! { [ -x "$python" ] || python3 -m venv "$work/venv"; } >"$work/venv.out" 2>&1; then
        skip "python3 -m venv does not work here ($work/venv.out)" $names
        return
    fi
    if ! "$python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt" >"$work/pip.out" 2>&1; then
        skip "pip could not install the packages ($work/pip.out)" $names
        return
    fi
    for name in $names; do run "$name" "$python" "$here/$name.py" "$port"; done
}

node_clients() {
    local names="node_redis node_redis_pubsub ioredis ioredis_pubsub iovalkey connect_redis" major packages
    if ! command -v npm >/dev/null; then
        skip "there is no npm here" $names
        return
    fi
    major=$(node -p 'process.versions.node.split(".")[0]')
    packages="iovalkey@0.4.0 connect-redis@9.0.0 express@5.1.0 express-session@1.19.0"
    packages="$packages socket.io@4.8.1 socket.io-client@4.8.1 @socket.io/redis-adapter@8.3.0"
    if [ "$major" -ge 20 ]; then
        packages="$packages redis@6.3.1 ioredis@6.0.0"
    else
        packages="$packages redis@5.10.0 ioredis@5.8.2"
    fi
    mkdir -p "$work/npm" && cp "$here"/*.mjs "$work/npm/"
    if ! (cd "$work/npm" && echo '{"private":true}' >package.json &&
        npm install --no-package-lock --no-audit --no-fund --loglevel=error $packages) >"$work/npm.out" 2>&1; then
        skip "npm could not install the packages ($work/npm.out)" $names
        return
    fi
    for name in $names; do run "$name" node "$work/npm/$name.mjs" "$port"; done
}

redis_tools() {
    if command -v redis-cli >/dev/null; then
        run redis_cli bash "$here/redis_cli.sh" "$port"
        run redis_benchmark bash "$here/redis_benchmark.sh" "$port"
    else
        skip "redis-tools is not installed" redis_cli redis_benchmark
    fi
}

case ${1:-} in
--at) port=${2:?a port} ;;
"" | -*)
    sed -n '2,9p' "$0"
    exit 2
    ;;
*) start "$1" ;;
esac
redis_tools
python_clients
node_clients
echo "clients: $passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
