#!/bin/sh
# Builds what is compared and runs compare.py with these arguments; see `compare/run.sh --help`.
set -eu
cd "$(dirname "$0")/.."
cargo build --release --locked --quiet
cargo build --release --locked --quiet --example floor
exec python3 compare/compare.py "$@"
