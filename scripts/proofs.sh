#!/bin/sh
# Proofs of the library beyond its tests: models of its lock-free algorithms, which must fail on
# each mutation, builds for other machines, then its unit tests under ThreadSanitizer, under Miri
# and for AArch64. Names the parts that it leaves out on this machine. PROOFS selects parts: models,
# mutations, builds, threads, miri, aarch64.
set -eu
cd "$(dirname "$0")/.."
sh scripts/need.sh cargo

library=shm-multiprocessing
proofs=shared/multiprocessing/proofs/Cargo.toml
target=${CARGO_TARGET_DIR:-$PWD/target}
export CARGO_TARGET_DIR="$target/proofs"
parts=${PROOFS:-models mutations builds threads miri aarch64}

left_out() {
    echo "left out: $1" >&2
}

# Fails, and names what is left out, if this toolchain cannot build for the target.
has_target() {
    [ -d "$(rustc --print sysroot)/lib/rustlib/$1" ] ||
        rustup target add "$1" >/dev/null 2>&1 || {
            left_out "$1 (rustup target add $1)"
            return 1
        }
}

model() {
    cargo run --quiet --locked --manifest-path "$proofs" -- "$@"
}

# Every order of memory accesses, up to a number of preemptions.
models() {
    model
}

# Each mutation makes an algorithm wrong, so a model that still holds proves nothing.
mutations() {
    for mutation in $(model --mutations); do
        MUTATION=$mutation cargo build --quiet --locked --manifest-path "$proofs"
        if MUTATION=$mutation timeout 300 cargo run --quiet --locked --manifest-path "$proofs" -- \
            "${mutation%-*}" >"$CARGO_TARGET_DIR/mutation.log" 2>&1; then
            echo "mutation $mutation: not noticed" >&2
            return 1
        fi
        if ! grep -q panicked "$CARGO_TARGET_DIR/mutation.log"; then
            cat "$CARGO_TARGET_DIR/mutation.log" >&2
            return 1
        fi
        echo "mutation $mutation: noticed"
    done
}

# The library and its command compile for AArch64. For a machine that the library does not support,
# its only error is the one that says so. Shares compiled dependencies with the rest of the project.
builds() {
    if has_target aarch64-unknown-linux-gnu; then
        CARGO_TARGET_DIR=$target cargo check --locked --package "$library" \
            --package "$library-cli" --target aarch64-unknown-linux-gnu
    fi
    has_target i686-unknown-linux-gnu || return 0
    if CARGO_TARGET_DIR=$target cargo check --quiet --locked --package "$library" \
        --target i686-unknown-linux-gnu 2>"$CARGO_TARGET_DIR/unsupported.log"; then
        echo "the library compiles for 32 bits, where it does not work" >&2
        return 1
    fi
    # The first line is the message, and the last one of cargo says how many there are.
    if ! grep -q "needs 64-bit Linux" "$CARGO_TARGET_DIR/unsupported.log" ||
        ! grep -q "due to 1 previous error" "$CARGO_TARGET_DIR/unsupported.log"; then
        cat "$CARGO_TARGET_DIR/unsupported.log" >&2
        return 1
    fi
    echo "32 bits are refused with one message"
}

# The unit tests have threads and no forks. The standard library is built with the sanitizer too,
# which needs its sources.
threads() {
    if [ ! -d "$(rustc --print sysroot)/lib/rustlib/src/rust/library" ]; then
        left_out "ThreadSanitizer (rustup component add rust-src)"
        return
    fi
    RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=thread TSAN_OPTIONS=exitcode=66 \
        cargo test --locked --package "$library" --lib -Zbuild-std \
        --target x86_64-unknown-linux-gnu
}

# Miri has no shared mappings, sockets with descriptors or forks: the modules without them.
miri() {
    if ! cargo +nightly miri --version >/dev/null 2>&1; then
        left_out "Miri (rustup toolchain install nightly --component miri,rust-src)"
        return
    fi
    MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test --locked --package "$library" \
        --lib -- memory::layout pool::watchdog segment::plan sync::barrier::broken task_pool::message
}

# Builds all tests. QEMU has no robust futexes (set_robust_list), so the deaths of lock owners go
# unnoticed under it: only the tests without them run.
aarch64() {
    for tool in aarch64-linux-gnu-gcc qemu-aarch64; do
        command -v "$tool" >/dev/null 2>&1 && continue
        left_out "AArch64 (apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user)"
        return
    done
    has_target aarch64-unknown-linux-gnu || return 0
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu"
    cargo test --locked --package "$library" --target aarch64-unknown-linux-gnu --no-run
    cargo test --locked --package "$library" --target aarch64-unknown-linux-gnu --lib -- \
        memory:: pool:: segment::plan sync::barrier::broken sync::held task_pool::
}

mkdir -p "$CARGO_TARGET_DIR"
for part in $parts; do
    echo "--- $part"
    "$part"
done
