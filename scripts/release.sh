#!/bin/sh
# Writes a release archive to dist/: the static programs with their manual pages, completion
# scripts, unit and documentation. The same commit and compiler produce the same archive.
set -eu
cd "$(dirname "$0")/.."
. scripts/programs.sh
sh scripts/need.sh cargo rustc tar gzip

# The same packages as for the images, so that nothing is built twice.
build_static server client compose
central=$(program loteria-central)
agency=$(program loteria-agency)
version=$("$central" --version | cut -d ' ' -f 2)
name=loteria-$version-$(linux_target)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 022
mkdir -p "$work/$name/bin" dist
cp "$central" "$agency" "$work/$name/bin"
sh scripts/documents.sh "$work/$name" "$central" "$agency"
cp -R README.md PROTOCOL.md CHANGELOG.md LICENSE packaging "$work/$name"

time=$(git log -1 --format=%ct 2>/dev/null) || time=0
tar --create --directory "$work" --sort=name --owner=0 --group=0 --numeric-owner \
    --mtime="@$time" --mode=u+rwX,go+rX-w "$name" | gzip --no-name --best >"dist/$name.tar.gz"
(cd dist && sha256sum "$name.tar.gz" | tee "$name.tar.gz.sha256")
