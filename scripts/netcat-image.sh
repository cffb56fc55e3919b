#!/bin/sh
# Prints the name of a local image that has netcat, as /bin/busybox. If there is none, builds one
# around a static busybox of this machine or of Debian's package. Pulls an image only if that fails.
set -eu

built=tp0-netcat:latest
for image in "$built" busybox alpine; do
    if docker image inspect "$image" >/dev/null 2>&1; then
        echo "$image"
        exit
    fi
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# make_image BUSYBOX: builds the image around this program, and runs it to check that it is static
# and has netcat.
make_image() {
    mkdir -p "$work/context"
    cp "$1" "$work/context/busybox"
    printf 'FROM scratch\nCOPY busybox /bin/busybox\n' >"$work/context/Dockerfile"
    docker build --tag "$built" "$work/context" >/dev/null 2>&1 || return 1
    if docker run --rm --network none "$built" /bin/busybox --list 2>/dev/null | grep -qx nc; then
        echo "$built"
        exit
    fi
    docker rmi "$built" >/dev/null 2>&1 || true
}

if busybox=$(command -v busybox); then
    make_image "$busybox" || true
fi

# apt-get download needs no root and leaves the package in the working directory.
if (cd "$work" && apt-get -o Acquire::Retries=0 download busybox-static && dpkg-deb --extract ./*.deb root) >/dev/null 2>&1; then
    for busybox in "$work/root/bin/busybox" "$work/root/usr/bin/busybox"; do
        [ ! -f "$busybox" ] || make_image "$busybox" || true
    done
fi

if docker pull --quiet busybox:latest >/dev/null 2>&1; then
    echo busybox:latest
    exit
fi
echo "no image with netcat: install the package busybox-static, or docker pull busybox" >&2
exit 1
