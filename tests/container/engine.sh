# Finds a way to run containers on this machine, and stand-ins for the base images. Sourced by run.sh.
#
# After find_engine, "${engine[@]}" is podman with the options that work here, and "${limits[@]}" are the flags that its
# `run` and `build` need. A stand-in is an empty image in place of a base image; this machine's own /usr and its
# Rust toolchain are mounted into it, so that no registry of images is needed and the stages of the shipped Dockerfile are
# built as they are. Stand-ins have names of their own, since an image of this machine may have the base image's.

engine=() limits=() host=() rust=() python=()
stand_ins=()

# Prints why containers cannot run here, and fails; or sets `engine` and `limits`.
find_engine() {
    command -v podman >/dev/null || { echo "there is no podman here"; return 1; }
    engine=(podman) limits=()
    # Not in a subshell: the stand-in that it makes is to be removed at the end.
    probe >"$work/why" 2>&1 && return
    # Without systemd, and where limits may not be raised (a sandbox, a container in a container).
    engine=(podman --runtime runc --cgroup-manager cgroupfs)
    limits=(--ulimit "nofile=$(ulimit -Hn):$(ulimit -Hn)" --ulimit nproc=1024:1024)
    probe >"$work/why" 2>&1 && return
    echo "podman cannot run containers here: $(tail -1 "$work/why")"
    return 1
}

# Whether a container with a memory limit runs: one of nothing but this machine's /usr.
probe() {
    stand_in "localhost/pannier-probe-$$" && host_mounts &&
        "${engine[@]}" run --rm "${limits[@]}" --memory 64m --network none --read-only "${host[@]}" \
            "localhost/pannier-probe-$$" /usr/bin/true
}

# stand_in NAME [CHANGE...]: an image of empty directories, to be removed at the end.
stand_in() {
    local name=$1 root=$work/empty changes=() change id
    shift
    for change in "$@"; do changes+=(--change "$change"); done
    if [ ! -d "$root" ]; then
        mkdir -p "$root"/{usr/{bin,lib,lib64,include,libexec,local/cargo/registry,local/rust},etc/alternatives,tmp,proc,sys,dev,run,vendor,.cargo}
        ln -s usr/bin "$root/bin"
        ln -s usr/lib "$root/lib"
        ln -s usr/lib64 "$root/lib64"
    fi
    id=$(tar -C "$root" -c . | "${engine[@]}" import --quiet "${changes[@]}" - "$name" 2>/dev/null) || return 1
    stand_ins+=("$id")
}

# This machine's programs and libraries, read-only, where a stand-in has its own empty directories.
host_mounts() {
    host=()
    local directory
    [ -L /lib ] && [ -L /bin ] || { echo "stand-ins need a system with all programs under /usr"; return 1; }
    for directory in /usr/bin /usr/lib /usr/lib64 /usr/include /usr/libexec /etc/alternatives; do
        [ ! -d $directory ] || host+=(--volume "$directory:$directory:ro")
    done
}

# The stand-in for the Rust image: the toolchain, and the crates in the locked versions, so that the build needs no network.
rust_stand_in() {
    stand_in "$1" "ENV PATH=/usr/local/rust/bin:/usr/bin" "ENV CARGO_HOME=/usr/local/cargo" || return 1
    mkdir -p "$work/cargo"
    cargo vendor --quiet --locked --versioned-dirs "$work/vendor" >/dev/null || return 1
    cat >"$work/cargo/config.toml" <<EOF
[source.crates-io]
replace-with = "vendored"
[source.vendored]
directory = "/vendor"
EOF
    rust=("${host[@]}" --network none --volume "$(rustc --print sysroot):/usr/local/rust:ro"
        --volume "$work/vendor:/vendor:ro" --volume "$work/cargo:/.cargo:ro")
}

# The stand-in for the Python image; `python` is what `run` needs to start this machine's Python in it.
python_stand_in() {
    local prefix
    stand_in "$1" || return 1
    prefix=$(python3 -c 'import sys; print(sys.base_prefix)')
    python=("${host[@]}")
    [ "$prefix" = /usr ] || python+=(--volume "$prefix:$prefix:ro")
    python+=(--entrypoint "$(python3 -c 'import os, sys; print(os.path.realpath(sys.executable))')")
}

remove_stand_ins() {
    [ ${#stand_ins[@]} -eq 0 ] || "${engine[@]}" rmi --force "${stand_ins[@]}" >/dev/null 2>&1
}
