#!/bin/sh
# Writes Debian packages of the central and the agency to dist/. Their programs are static, so the
# packages depend on nothing.
set -eu
cd "$(dirname "$0")/.."
. scripts/programs.sh
sh scripts/need.sh cargo rustc dpkg-deb
if ! cargo deb --version >/dev/null 2>&1; then
    echo "missing tool: cargo-deb; to get it: cargo install --locked cargo-deb" >&2
    exit 1
fi

# The same packages as for the images, so that nothing is built twice.
build_static server client compose
sh scripts/documents.sh target/packaging "$(program loteria-central)" "$(program loteria-agency)"
mkdir -p dist
for package in server client; do
    cargo deb --package "$package" --no-build --target "$(linux_target)" --output dist
done
