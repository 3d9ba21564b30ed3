#!/bin/bash
# Session tests with real clients and frameworks in their default settings; docs/frameworks.md has a row for each.
#
#   tests/clients/run.sh BINARY        starts `BINARY serve` on a free port and tests that
#   tests/clients/run.sh --at PORT     tests the server that listens on 127.0.0.1:PORT (its databases are emptied!)
#
# Those in Python, Node and Rust are installed in pinned versions under target/clients, those in PHP and Ruby are Debian's
# packages. What cannot be installed is said and counted as skipped.
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
    local name=$1 out=$work/$1.out from=$SECONDS
    shift
    if timeout 180 "$@" >"$out" 2>&1; then
        echo "ok      $name ($((SECONDS - from)) s)"
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
    local names python=$work/venv/bin/python
    names="redis_py redis_py_async redis_py_pubsub redis_py_lock django_cache django_redis_cache flask_session_app"
    names="$names dogpile_cache flask_limiter_app limits_library slowapi_app needs_lists"
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
    names="$names redlock rate_limit_redis rate_limiter_flexible fastify_rate_limit"
    if ! command -v npm >/dev/null; then
        skip "there is no npm here" $names
        return
    fi
    major=$(node -p 'process.versions.node.split(".")[0]')
    packages="iovalkey@0.4.0 connect-redis@9.0.0 express@5.1.0 express-session@1.19.0"
    packages="$packages socket.io@4.8.1 socket.io-client@4.8.1 @socket.io/redis-adapter@8.3.0"
    packages="$packages redlock@4.2.0 rate-limit-redis@6.0.1 express-rate-limit@8.7.5 rate-limiter-flexible@11.4.0"
    if [ "$major" -ge 20 ]; then
        packages="$packages redis@6.3.1 ioredis@6.0.0 fastify@5.12.8 @fastify/rate-limit@11.2.0"
    else
        packages="$packages redis@5.10.0 ioredis@5.8.2"
        skip "Fastify 5 needs Node 20" fastify_rate_limit
        names=${names% fastify_rate_limit}
    fi
    mkdir -p "$work/npm" && cp "$here"/*.mjs "$work/npm/"
    if ! (cd "$work/npm" && echo '{"private":true}' >package.json &&
        npm install --no-package-lock --no-audit --no-fund --loglevel=error $packages) >"$work/npm.out" 2>&1; then
        skip "npm could not install the packages ($work/npm.out)" $names
        return
    fi
    for name in $names; do run "$name" node "$work/npm/$name.mjs" "$port"; done
}

php_clients() {
    local names="phpredis_session symfony_cache laravel_cache needs_sorted_sets"
    if ! command -v php >/dev/null || ! php -m | grep -qx redis; then
        skip "php-cli and php-redis are not installed" $names
        return
    fi
    run phpredis_session php "$here/phpredis_session.php" "$port"
    php_library symfony_cache Symfony/Component/Cache php-symfony-cache
    php_library laravel_cache Illuminate/Redis "php-illuminate-cache, -container and -redis"
    php_library needs_sorted_sets Symfony/Component/Lock php-symfony-lock
}

# php_library NAME DIRECTORY PACKAGES: a test whose library Debian installs in DIRECTORY.
php_library() {
    if [ -e "/usr/share/php/$2/autoload.php" ]; then
        run "$1" php "$here/$1.php" "$port"
    else
        skip "$3 is not installed" "$1"
    fi
}

ruby_clients() {
    local names="rails_cache"
    if ! command -v ruby >/dev/null || ! ruby -e 'require "redis"; require "active_support"' >"$work/ruby.out" 2>&1; then
        skip "ruby, ruby-redis and ruby-activesupport are not installed" $names
        return
    fi
    for name in $names; do run "$name" ruby "$here/$name.rb" "$port"; done
}

rust_clients() {
    local names="redis_rs fred tower_sessions" manifest=$here/rust/Cargo.toml from=$SECONDS
    if ! command -v cargo >/dev/null; then
        skip "there is no cargo here" $names
        return
    fi
    if ! cargo fetch --locked --manifest-path "$manifest" >"$work/cargo.out" 2>&1; then
        skip "cargo could not get the crates ($work/cargo.out)" $names
        return
    fi
    if ! cargo build --quiet --locked --manifest-path "$manifest" --target-dir "$work/rust" >"$work/cargo.out" 2>&1; then
        for name in $names; do run "$name" bash -c 'cat "$0"; exit 1' "$work/cargo.out"; done
        return
    fi
    echo "built the crates ($((SECONDS - from)) s)"
    for name in $names; do run "$name" "$work/rust/debug/$name" "$port"; done
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
    sed -n '2,10p' "$0"
    exit 2
    ;;
*) start "$1" ;;
esac
redis_tools
python_clients
node_clients
php_clients
ruby_clients
rust_clients
echo "took $SECONDS s"
echo "clients: $passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
