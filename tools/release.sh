#!/bin/bash
# Makes what a release consists of: for each architecture an archive (a static binary, manual pages, completions,
# documentation, a systemd unit) and a Debian package, and their checksums.
#
#   tools/release.sh [DIRECTORY]            default: target/dist-archives
#   TARGETS="x86_64-unknown-linux-gnu" tools/release.sh
#
# An architecture that this toolchain cannot build for is named with what is missing, and left out; the exit code is 1 only
# where nothing could be made or a check failed. Archives and packages are the same, byte for byte, whenever and wherever
# the same commit is built with the same toolchain: names are sorted, times are the commit's, owners are numbers, and the
# binary holds no path of the machine that built it. Before one is called done it is unpacked, its checksum compared, its
# binary run where this machine can, and packed once more and compared.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-target/dist-archives}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
host=$(rustc -vV | sed -n 's/^host: //p')
epoch=$(git log -1 --format=%ct 2>/dev/null || date +%s)
export SOURCE_DATE_EPOCH=$epoch
# The machine's own first: its binary prints the manual pages and completions of all.
targets=${TARGETS:-$host $(printf '%s\n' x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu | grep -vxF "$host")}
mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
texts='' made=()

# linker TARGET: the linker for it, or nothing for the machine's own.
linker() { [ "$1" = "$host" ] || echo "${1%%-*}-linux-gnu-gcc"; }

# missing TARGET: prints what keeps this machine from building for it.
missing() {
    local target=$1 link
    if [ ! -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]; then
        echo "this Rust toolchain has no standard library for it (rustup target add $target)"
    fi
    link=$(linker "$target")
    if [ -n "$link" ] && ! command -v "$link" >/dev/null; then
        echo "there is no $link (Debian: gcc-${1%%-*}-linux-gnu and libc6-dev-$(debian_name "$target")-cross)"
    fi
}

debian_name() {
    case $1 in
        x86_64-*) echo amd64 ;;
        aarch64-*) echo arm64 ;;
        *) echo "${1%%-*}" ;;
    esac
}

build() {
    local target=$1 home=${CARGO_HOME:-$HOME/.cargo} link
    link=$(linker "$target")
    [ -z "$link" ] || export "CARGO_TARGET_$(tr a-z- A-Z_ <<<"$target")_LINKER=$link"
    # Static; the C library included, which glibc allows for what neither resolves names nor loads modules.
    RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=$home=/cargo --remap-path-prefix=$PWD=/src" \
        cargo build --locked --profile dist --bin pannier --target "$target"
}

# write_texts BINARY: what the binary prints of itself.
write_texts() {
    texts=$work/texts
    mkdir -p "$texts/man"
    "$1" completions bash >"$texts/pannier.bash"
    "$1" completions zsh >"$texts/_pannier"
    "$1" completions fish >"$texts/pannier.fish"
    "$1" man --dir "$texts/man"
}

# fill_archive BINARY DIRECTORY
fill_archive() {
    local binary=$1 to=$2
    mkdir -p "$to"/{completions,man,systemd,docs}
    install -m 755 "$binary" "$to/pannier"
    install -m 644 README.md CHANGELOG.md LICENSE-APACHE LICENSE-MIT "$to"
    install -m 644 docs/*.md "$to/docs"
    install -m 644 examples/systemd/pannier.service "$to/systemd"
    install -m 644 "$texts"/{pannier.bash,_pannier,pannier.fish} "$to/completions"
    install -m 644 "$texts"/man/* "$to/man"
}

# fill_package BINARY DIRECTORY ARCHITECTURE
fill_package() {
    local binary=$1 to=$2 architecture=$3 doc=$2/usr/share/doc/pannier page
    umask 022
    install -D -m 755 "$binary" "$to/usr/bin/pannier"
    install -D -m 644 /dev/stdin "$to/usr/lib/systemd/system/pannier.service" \
        < <(sed 's#/usr/local/bin/pannier#/usr/bin/pannier#' examples/systemd/pannier.service)
    install -D -m 644 "$texts/pannier.bash" "$to/usr/share/bash-completion/completions/pannier"
    install -D -m 644 "$texts/_pannier" "$to/usr/share/zsh/vendor-completions/_pannier"
    install -D -m 644 "$texts/pannier.fish" "$to/usr/share/fish/vendor_completions.d/pannier.fish"
    for page in "$texts"/man/*; do
        install -D -m 644 /dev/stdin "$to/usr/share/man/man1/$(basename "$page").gz" < <(gzip -n -9 <"$page")
    done
    install -D -m 644 /dev/stdin "$doc/copyright" < <(cat LICENSE-MIT; echo; cat LICENSE-APACHE)
    install -D -m 644 /dev/stdin "$doc/changelog.gz" < <(gzip -n -9 <CHANGELOG.md)
    install -m 644 README.md "$doc"
    mkdir -p "$doc/docs"
    install -m 644 docs/*.md "$doc/docs"
    mkdir -p "$to/DEBIAN"
    cat >"$to/DEBIAN/control" <<CONTROL
Package: pannier
Version: $version
Architecture: $architecture
Maintainer: The Pannier maintainers
Installed-Size: $(du -sk --apparent-size "$to/usr" | cut -f1)
Section: database
Priority: optional
Description: key-value server for sidecars, with one memory ceiling
 A single-threaded server of the Redis protocol whose memory is fixed at start.
 The package installs its unit without starting it:
 systemctl enable --now pannier
CONTROL
    find "$to" -exec touch --no-dereference --date="@$epoch" {} +
}

# pack DIRECTORY ARCHIVE
pack() {
    tar --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner --mode='go-w,a+rX' --format=gnu \
        -C "$(dirname "$1")" -cf - "$(basename "$1")" | gzip -n -9 >"$2"
}

# check_binary BINARY TARGET: runs it, by an emulator if need be; where there is none, says so.
check_binary() {
    local binary=$1 target=$2 emulator=
    if [ "$target" != "$host" ]; then
        emulator=$(command -v "qemu-${target%%-*}-static" || command -v "qemu-${target%%-*}") ||
            { echo "$target: the binary was not run, since this machine cannot"; return 0; }
    fi
    [ "$(${emulator:+"$emulator"} "$binary" --version)" = "pannier $version" ]
}

# finish FILE: its checksum, and a line about it.
finish() {
    (cd "$out" && sha256sum "$1" >"$1.sha256" && sha256sum --quiet --check "$1.sha256")
    echo "$(stat -c %s "$out/$1") bytes: $out/$1"
    made+=("$1")
}

make_archive() {
    local target=$1 binary=$2 name=pannier-$version-$1
    fill_archive "$binary" "$work/a/$name"
    pack "$work/a/$name" "$out/$name.tar.gz"
    mkdir "$work/unpacked"
    tar -C "$work/unpacked" -xzf "$out/$name.tar.gz"
    check_binary "$work/unpacked/$name/pannier" "$target"
    fill_archive "$binary" "$work/again/$name"
    pack "$work/again/$name" "$work/again.tar.gz"
    cmp "$out/$name.tar.gz" "$work/again.tar.gz"
    finish "$name.tar.gz"
    rm -r "$work/a" "$work/again" "$work/unpacked"
}

make_package() {
    local target=$1 binary=$2 architecture name
    architecture=$(debian_name "$target") name=pannier_${version}_$architecture.deb
    command -v dpkg-deb >/dev/null || { echo "$target: no Debian package, since there is no dpkg-deb here"; return 0; }
    fill_package "$binary" "$work/p" "$architecture"
    dpkg-deb --root-owner-group -Zxz --build "$work/p" "$out/$name" >/dev/null
    dpkg-deb -x "$out/$name" "$work/unpacked"
    check_binary "$work/unpacked/usr/bin/pannier" "$target"
    [ "$(dpkg-deb -f "$out/$name" Architecture)" = "$architecture" ]
    fill_package "$binary" "$work/again" "$architecture"
    dpkg-deb --root-owner-group -Zxz --build "$work/again" "$work/again.deb" >/dev/null
    cmp "$out/$name" "$work/again.deb"
    finish "$name"
    rm -r "$work/p" "$work/again" "$work/unpacked"
}

for target in $targets; do
    why=$(missing "$target")
    if [ -n "$why" ]; then
        sed "s/^/$target: not made: /" <<<"$why"
        continue
    fi
    build "$target"
    binary=target/$target/dist/pannier
    if grep -aqF -e "$PWD/" -e "${CARGO_HOME:-$HOME/.cargo}/" "$binary"; then
        echo "the binary names paths of this machine" >&2
        exit 1
    fi
    if [ -z "$texts" ]; then
        [ "$target" = "$host" ] || build "$host"
        write_texts "target/$host/dist/pannier"
    fi
    make_archive "$target" "$binary"
    make_package "$target" "$binary"
done
[ ${#made[@]} -gt 0 ]
