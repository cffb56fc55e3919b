#!/bin/sh
# Checks everything that needs no test run: format, lints, scripts, prose, unused dependencies.
set -eu
cd "$(dirname "$0")/.."
sh scripts/need.sh cargo git

cargo fmt --all --check
cargo clippy --workspace --all-targets --locked -- --deny warnings
sh scripts/prose.sh
sh scripts/sizes.sh
if command -v shellcheck >/dev/null 2>&1; then
    shellcheck --external-sources scripts/*.sh benches/*.sh ./*.sh .ci/run .ci/check-*
else
    echo "left out: the scripts' lints (shellcheck is not installed)" >&2
fi
if command -v cargo-machete >/dev/null 2>&1; then
    cargo machete
else
    echo "left out: unused dependencies (cargo install --locked cargo-machete)" >&2
fi
if command -v cargo-deny >/dev/null 2>&1; then
    cargo deny --workspace check licenses bans sources
else
    echo "left out: licences, bans and sources of dependencies (cargo install --locked cargo-deny)" >&2
fi
echo "all checks passed"
