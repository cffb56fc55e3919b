# shellcheck shell=sh
# Builds the programs of this workspace and finds them; to be sourced, from the root of the
# checkout.

# The paths of the programs that the last build produced, one per line.
programs=

# Builds programs and sets `programs` to the paths that cargo reports. The paths depend on
# CARGO_TARGET_DIR, CARGO_BUILD_TARGET_DIR, CARGO_BUILD_TARGET and the user's cargo configuration.
build_with() {
    # Printed before cargo starts, whose first line may come late while it waits for a lock or the
    # registry.
    echo "building the programs: about 2 minutes the first time, seconds after that" >&2
    messages=$(cargo build --release --locked --message-format json-render-diagnostics "$@")
    programs=$(printf '%s\n' "$messages" | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
}

# build PACKAGE...: builds programs that run on this machine.
build() {
    # shellcheck disable=SC2046 # several words
    set -- $(printf -- '--package %s ' "$@")
    build_with "$@"
}

# build_static PACKAGE...: builds programs that need no system library, for images FROM scratch.
build_static() {
    # The target is named even where it is this machine's own: without it RUSTFLAGS would also apply
    # to the procedural macros, which the compiler loads and which cannot be static.
    target=$(linux_target) || return 1
    # shellcheck disable=SC2046 # several words
    set -- $(printf -- '--package %s ' "$@")
    RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static" build_with --target "$target" "$@"
}

# Prints the Linux target that images are built for.
linux_target() {
    target=${CARGO_BUILD_TARGET:-$(rustc -vV | sed -n 's/^host: //p')}
    case $target in
    *-linux-*) echo "$target" ;;
    *)
        echo "images need Linux programs, and $target is not Linux: set CARGO_BUILD_TARGET to a Linux target" >&2
        return 1
        ;;
    esac
}

# program NAME: prints the path of a program that the last build produced.
program() {
    printf '%s\n' "$programs" | grep "/$1\$"
}

# keep NAME: copies a program that the last build produced into dist/.
keep() {
    mkdir -p dist
    # A running program cannot be overwritten, but it can be replaced.
    cp "$(program "$1")" "dist/$1.new"
    mv "dist/$1.new" "dist/$1"
}

# is_current FILE DIRECTORY...: succeeds if the program FILE is newer than the sources in these
# directories and than the versions of the dependencies.
is_current() {
    built=$1
    shift
    [ -x "$built" ] && [ -z "$(find Cargo.lock "$@" -name target -prune -o -type f -newer "$built" -print | head -n 1)" ]
}
