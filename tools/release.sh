#!/bin/bash
# Makes the archive of a release: a static binary, manual pages, completions, documentation, a systemd unit, checksums.
#
#   tools/release.sh [DIRECTORY]            default: target/dist-archives
#
# The archive is the same, byte for byte, whenever and wherever the same commit is built with the same toolchain: names
# are sorted, times are the commit's, owners are numbers, and the binary holds no path of the machine that built it.
# Before it is called done it is unpacked, its checksum compared, its binary run, and packed once more and compared.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-target/dist-archives}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
target=$(rustc -vV | sed -n 's/^host: //p')
name=pannier-$version-$target
epoch=$(git log -1 --format=%ct 2>/dev/null || date +%s)
mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

build() {
    local home=${CARGO_HOME:-$HOME/.cargo}
    # Static; the C library included, which glibc allows for what neither resolves names nor loads modules.
    RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=$home=/cargo --remap-path-prefix=$PWD=/src" \
        SOURCE_DATE_EPOCH=$epoch cargo build --locked --profile dist --bin pannier --target "$target"
}

# fill BINARY DIRECTORY
fill() {
    local binary=$1 to=$2
    mkdir -p "$to"/{completions,man,systemd,docs}
    install -m 755 "$binary" "$to/pannier"
    install -m 644 README.md CHANGELOG.md LICENSE-APACHE LICENSE-MIT "$to"
    install -m 644 docs/*.md "$to/docs"
    install -m 644 examples/systemd/pannier.service "$to/systemd"
    "$binary" completions bash >"$to/completions/pannier.bash"
    "$binary" completions zsh >"$to/completions/_pannier"
    "$binary" completions fish >"$to/completions/pannier.fish"
    "$binary" man --dir "$to/man"
}

# pack DIRECTORY ARCHIVE
pack() {
    tar --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner --mode='go-w,a+rX' --format=gnu \
        -C "$(dirname "$1")" -cf - "$(basename "$1")" | gzip -n -9 >"$2"
}

build
binary=target/$target/dist/pannier
if grep -aqF -e "$PWD/" -e "${CARGO_HOME:-$HOME/.cargo}/" "$binary"; then
    echo "the binary names paths of this machine" >&2
    exit 1
fi
fill "$binary" "$work/$name"
pack "$work/$name" "$out/$name.tar.gz"
(cd "$out" && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")

mkdir "$work/again"
tar -C "$work/again" -xzf "$out/$name.tar.gz"
(cd "$out" && sha256sum --quiet --check "$name.tar.gz.sha256")
[ "$("$work/again/$name/pannier" --version)" = "pannier $version" ]
rm -r "$work/again"
mkdir "$work/again"
fill "$binary" "$work/again/$name"
pack "$work/again/$name" "$work/again.tar.gz"
cmp "$out/$name.tar.gz" "$work/again.tar.gz"

tar -tzf "$out/$name.tar.gz"
echo "$(stat -c %s "$out/$name.tar.gz") bytes: $out/$name.tar.gz"
