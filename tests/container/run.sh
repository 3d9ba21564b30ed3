#!/bin/bash
# What the container image promises, tried on the image that the shipped Dockerfile makes.
#
#   tests/container/run.sh           builds on stand-ins for the base images, made of this machine's toolchain (engine.sh)
#   tests/container/run.sh --pull    builds on the base images themselves, from their registry
#
# Needs podman and python3. The container runs read-only, as a number, without capabilities and network, with 64 MiB;
# load.py drives it past that. Prints the figures of docs/figures.md. The last line reads `N passed, N failed`; the exit code is
# 0 when none failed, 77 where containers cannot run, with the reason as the last line.
set -u
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.." || exit 1
. "$here/engine.sh"
work=$(mktemp -d) name=pannier-test-$$ image=localhost/pannier-test-$$
rust_image=$(sed -n 's/^ARG RUST_IMAGE=//p' Dockerfile) python_image=python:3.13-slim-bookworm
[ "${1:-}" = --pull ] || rust_image=localhost/pannier-rust-$$ python_image=localhost/pannier-python-$$
passed=0 failed=0

cleanup() {
    [ ${#engine[@]} -gt 0 ] || engine=(true)
    "${engine[@]}" rm --force --time 0 "$name" >/dev/null 2>&1
    "${engine[@]}" rmi --force "$image" >/dev/null 2>&1
    remove_stand_ins
    rm -rf "$work"
}
trap cleanup EXIT

# check WHAT COMMAND...: the command must succeed; its output is shown where it does not.
check() {
    local what=$1
    shift
    if "$@" >"$work/out" 2>&1; then
        echo "ok      $what"
        passed=$((passed + 1))
    else
        echo "FAILED  $what"
        tail -30 "$work/out" | sed 's/^/        /'
        failed=$((failed + 1))
        return 1
    fi
}

build() {
    # Docker's format, since the other has no healthcheck; no layers, since a test's should not pile up.
    "${engine[@]}" build "${limits[@]}" "${rust[@]}" --format docker --layers=false --tag "$image" \
        --build-arg "RUST_IMAGE=$rust_image" --build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)" .
}

# start FLAGS...: the container as it is meant to run.
start() {
    "${engine[@]}" run --detach --name "$name" "${limits[@]}" --read-only --cap-drop all --memory 64m --network none \
        --security-opt no-new-privileges "$@" "$image"
}

# inside FILE ARGUMENTS...: runs a Python program beside the server, in its network namespace, as a service would be.
inside() {
    local file=$1
    shift
    "${engine[@]}" run --rm "${limits[@]}" --network "container:$name" --volume "$PWD:/project:ro" \
        --env PYTHONDONTWRITEBYTECODE=1 --env "PYTHONPATH=${modules:+/modules}" ${modules:+--volume "$modules:/modules:ro"} \
        "${python[@]}" "$python_image" "/project/$file" "$@"
}

field() { "${engine[@]}" inspect --format "{{$1}}" "$name"; }

image_is() {
    local found
    found=$("${engine[@]}" image inspect --format "{{$1}}" "$image")
    [ "$found" = "$2" ] || { echo "$1 is $found, not $2"; return 1; }
}

small() {
    [ "$("${engine[@]}" image inspect --format '{{.Size}}' "$image")" -le 6000000 ]
}

# An address that others can reach, and no password: it says what to do and does not start.
guarded() {
    local out code
    out=$("${engine[@]}" run --rm "${limits[@]}" --network none --env PANNIER_TCP=0.0.0.0:7878 "$image" 2>&1)
    code=$?
    grep -q -e --allow-unauthenticated <<<"$out" && [ $code -eq 2 ] || { echo "exit code $code: $out"; return 1; }
}

healthy() { "${engine[@]}" healthcheck run "$name"; }

await_healthy() {
    for _ in $(seq 100); do
        healthy >/dev/null 2>&1 && return
        sleep 0.05
    done
    "${engine[@]}" logs "$name"
    return 1
}

# The container's control group keeps the count of processes killed for memory, and the peak, under names of two versions.
control_group() {
    local pid=$1 path
    path=$(sed -n 's/^[0-9]*:memory:\(.*\)/\1/p' "/proc/$pid/cgroup")
    if [ -n "$path" ]; then
        echo "/sys/fs/cgroup/memory$path"
    else
        path=$(sed -n 's/^0::\(.*\)/\1/p' "/proc/$pid/cgroup")
        [ -d "/sys/fs/cgroup/unified" ] && echo "/sys/fs/cgroup/unified$path" || echo "/sys/fs/cgroup$path"
    fi
}

kills() { cat "$group/memory.events" "$group/memory.oom_control" 2>/dev/null | sed -n 's/^oom_kill //p'; }

never_killed() {
    [ "$(kills)" = 0 ] && [ "$(field .State.Pid)" = "$pid" ] && [ "$(field .State.OOMKilled)" = false ] ||
        { echo "killed for memory: $(kills) times; process $(field .State.Pid), it was $pid"; return 1; }
}

status() { awk -v label="$1:" '$1 == label { print $2 }' "/proc/$pid/status"; }

unprivileged() {
    [ "$(status CapEff)" = 0000000000000000 ] && [ "$(status NoNewPrivs)" = 1 ] && [ "$(status Seccomp)" = 2 ]
}

# SIGTERM to process 1 of the container: gone within a second, with exit code 0.
stops() {
    local from=$EPOCHREALTIME code
    "${engine[@]}" kill --signal TERM "$name" >/dev/null 2>&1
    code=$("${engine[@]}" wait "$name" 2>/dev/null)
    stop_ms=$(((${EPOCHREALTIME/./} - ${from/./}) / 1000))
    [ "$code" = 0 ] && [ $stop_ms -lt 1000 ] || { echo "exit code $code after $stop_ms ms"; return 1; }
}

images() { "${engine[@]}" images --all --quiet --no-trunc | sort; }

# Nothing is left of the test but, with --pull, the base images.
clean() { diff "$work/images" <(images); }

find_engine || exit 77
# What there was before; finding the engine has made stand-ins.
images | grep -vF "$(printf '%s\n' "${stand_ins[@]#sha256:}")" >"$work/images"
if [ "${1:-}" != --pull ]; then
    rust_stand_in "$rust_image" && python_stand_in "$python_image" || { echo "no stand-ins can be made here"; exit 77; }
fi

check "the image builds" build || { echo "$passed passed, $failed failed"; exit 1; }
check "it has at most 6 MB" small
check "it runs as a number" image_is .Config.User 65532:65532
check "it starts the server without a shell" image_is .Config.Entrypoint "[/pannier]"
check "it can be asked for its health without a shell" image_is .Config.Healthcheck.Test "[CMD /pannier healthcheck]"
check "it stops on SIGTERM" image_is .Config.StopSignal SIGTERM
check "open to the network without a password, it does not start" guarded

modules=$work/modules
python3 -m pip install --quiet --disable-pip-version-check --no-compile --target "$modules" -r examples/web/requirements.txt \
    >"$work/out" 2>&1 || modules=
from=$EPOCHREALTIME
check "it starts read-only, without capabilities, in 64 MiB" start && check "it is healthy" await_healthy
start_ms=$(((${EPOCHREALTIME/./} - ${from/./}) / 1000))
pid=$(field .State.Pid) group=$(control_group "$(field .State.Pid)")
idle_kib=$(status VmRSS)
# Version 1 counts the memory of sockets apart, and only once it has a limit; version 2 counts it with the rest.
echo $((1 << 40)) 2>/dev/null >"$group/memory.kmem.tcp.limit_in_bytes" || true
check "it has no privileges, and a filter of system calls" unprivileged
check "it keeps answering when driven past its memory" inside tests/container/load.py && sed 's/^/        /' "$work/out"
if [ -n "$modules" ]; then
    check "a web service beside it keeps its sessions in it" inside examples/web/test_app.py --at 127.0.0.1:7878
else
    echo "skipped a web service beside it: redis-py cannot be installed here"
fi
check "it is healthy after that" healthy
check "it was never killed for memory" never_killed
resident_kib=$(status VmHWM)
peak=$(cat "$group/memory.peak" "$group/memory.max_usage_in_bytes" 2>/dev/null | head -1)
sockets=$(cat "$group/memory.kmem.tcp.max_usage_in_bytes" 2>/dev/null)
[ -z "$peak" ] || check "with its sockets it stayed within 64 MiB" test $((peak + ${sockets:-0})) -le $((64 << 20))
check "SIGTERM ends it in order within a second" stops

box=$("${engine[@]}" create "$image") && "${engine[@]}" cp "$box:/pannier" "$work/pannier" && "${engine[@]}" rm "$box" >/dev/null
check "the binary's figures" python3 "$here/figures.py" "$work/pannier" && sed 's/^/        /' "$work/out"

size=$("${engine[@]}" image inspect --format '{{.Size}}' "$image" | awk '{ printf "%.2f MB", $1 / 1e6 }')
if [ "${1:-}" != --pull ]; then
    "${engine[@]}" rm --force --time 0 "$name" >/dev/null 2>&1
    "${engine[@]}" rmi --force "$image" >/dev/null 2>&1
    remove_stand_ins
    check "it leaves no images behind" clean
fi

echo
echo "image: $size"
echo "container: 64 MiB, read-only; healthy $start_ms ms after the start, gone $stop_ms ms after SIGTERM"
echo "in the container: $idle_kib KiB resident at rest, $resident_kib KiB at most under load"
[ -z "$peak" ] || echo "in the container: $(((peak + ${sockets:-0}) / 1024)) KiB at most, with the memory of its sockets, of 65536"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
