# What one can do with the lottery. Every target says what it does; the work is done in scripts/.

# What `make data` writes.
AGENCIES ?= 5
BETS ?= 1000
SEED ?= 1

.DEFAULT_GOAL := help
.PHONY: help up demo down logs ipcs test soak bench data build docker-image docker-compose-up docker-compose-down docker-compose-logs

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | awk -F '|' '{ printf "make %-19s %s\n", $$1, $$2 }'

up: ## the lottery, whole: the central and five agencies, in containers where there is a Docker engine (PROTOCOL: a dialect)
	@sh scripts/up.sh

demo: ## the same as processes of this machine (port: SERVER_PORT, 12345)
	@sh scripts/local.sh

down: ## stop what is up and remove what it left, the bets too
	@sh scripts/down.sh

logs: ## the logs of what is up (FOLLOW=1: and what comes)
	@sh scripts/logs.sh

ipcs: ## the central's shared memory, with its own tool and with the system's
	@sh scripts/ipcs.sh

test: ## every test, the examples in the documentation too
	@sh scripts/need.sh cargo cargo-nextest python3
	cargo nextest run --workspace
	cargo test --doc --workspace

soak: ## kill 20,000 processes of every primitive of the library at random (KILLS, ONLY: names), about 7 minutes on 2 processors
	@sh scripts/soak.sh

bench: ## measure, and compare with the references
	@sh benches/run.sh

data: ## write the agencies' bets into .data/ (AGENCIES, BETS, SEED)
	@sh scripts/need.sh cargo
	cargo run --release --quiet --package client -- generate --agencies $(AGENCIES) --bets $(BETS) --seed $(SEED) --out .data

build: ## the programs, in target/release
	@sh scripts/need.sh cargo
	cargo build --release

docker-image: ## the images server:latest and client:latest
	@sh scripts/image.sh

docker-compose-up: ## the images, and the containers of docker-compose-dev.yaml (if there is none: of five agencies)
	@sh scripts/compose.sh up

docker-compose-down: ## stop those containers in order and remove them, the bets too
	@sh scripts/compose.sh down

docker-compose-logs: ## follow their logs
	@sh scripts/compose.sh logs
