# Each target is described after `##`. Most of the work is done by scripts/.

# Input of `make data`.
AGENCIES ?= 5
BETS ?= 1000
SEED ?= 1

.DEFAULT_GOAL := help
.PHONY: help up demo up-cluster down logs ipcs test check soak proofs chaos drill bench plots recording test-instructions data build release deb docker-image docker-compose-up docker-compose-down docker-compose-logs

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | awk -F '|' '{ printf "make %-19s %s\n", $$1, $$2 }'

up: ## run the central and five agencies, in containers if Docker with Compose is installed (PROTOCOL: a dialect)
	@sh scripts/up.sh

demo: ## the same, always as local processes (SERVER_PORT: 12345)
	@sh scripts/local.sh

up-cluster: ## run three centrals on one PostgreSQL, kill one, compare what is stored (AGENCIES, BETS, PROTOCOL)
	@sh scripts/cluster.sh

down: ## stop what is running and remove what it left, including the bets
	@sh scripts/down.sh

logs: ## print the logs of what is running (FOLLOW=1: then follow them)
	@sh scripts/logs.sh

ipcs: ## show the central's shared memory, with its own tool and with the system's
	@sh scripts/ipcs.sh

check: ## format, lints, language, unused dependencies: under a minute when warm
	@sh scripts/check.sh

test: ## all tests, including the examples in the documentation: about 10 minutes
	@sh scripts/test.sh

soak: ## kill 20,000 processes per primitive of the library at random (KILLS, ONLY: names): about 9 minutes
	@sh scripts/soak.sh

proofs: ## models of the library's algorithms, ThreadSanitizer, Miri and AArch64, as far as installed (PROOFS: parts): about 10 minutes
	@sh scripts/proofs.sh

chaos: ## power losses, kills, stops and failing files at random; counts what is lost (SEED, ROUNDS: 100, STATES: 10000): more than half an hour
	@sh scripts/chaos.sh

drill: ## three centrals on three nodes of PostgreSQL, of which machines fail under load (DRILL: words of failures; root): about 15 minutes
	@sh scripts/drill.sh

bench: ## measure, and compare with other servers (BENCH: main, goals, all, or parts of rows): about 5 minutes
	@sh benches/run.sh

plots: ## show the newest results of make bench in docs/measurements.md and benches/plots
	@sh scripts/need.sh cargo
	cargo run --release --locked --package lottery-bench -- publish

recording: ## run a lottery, kill workers in the live view and record it as docs/pictures/top.svg
	@sh scripts/need.sh cargo
	cargo build --release --locked --package server --package client --package lottery-bench
	target/release/lottery-bench record --programs target/release --out docs/pictures/top.svg

test-instructions: ## compare the instructions per batch with benches/instructions.csv (needs valgrind)
	@sh scripts/need.sh cargo valgrind
	cargo test --release --locked --package lottery-bench --test instructions -- --nocapture

data: ## write bets for the agencies into .data/ (AGENCIES, BETS, SEED)
	@sh scripts/need.sh cargo
	cargo run --release --locked --package client -- generate --agencies $(AGENCIES) --bets $(BETS) --seed $(SEED) --out .data

build: ## build the programs in release mode
	@sh scripts/need.sh cargo
	cargo build --release --locked --package server --package client --package compose

release: ## write an archive of static programs, manual pages, completions and unit to dist/
	@sh scripts/release.sh

deb: ## write Debian packages to dist/ (needs cargo-deb)
	@sh scripts/deb.sh

docker-image: ## build the images server:latest and client:latest
	@sh scripts/image.sh

docker-compose-up: ## build the images and start docker-compose-dev.yaml (default: five agencies; PROTOCOL writes it again)
	@sh scripts/compose.sh up

docker-compose-down: ## stop those containers gracefully and remove them, including the bets
	@sh scripts/compose.sh down

docker-compose-logs: ## follow their logs
	@sh scripts/compose.sh logs
