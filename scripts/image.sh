#!/bin/sh
# Builds the images server:latest and client:latest around static programs, which it first copies
# into dist/.
set -eu
cd "$(dirname "$0")/.."
. scripts/programs.sh
sh scripts/need.sh cargo rustc docker

build_static server monitor client compose
keep compose
keep loteria-monitor
sh scripts/pack.sh "$(program loteria-central)" "$(program loteria-agency)"
