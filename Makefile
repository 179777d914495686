# Forebay's front door. `make` alone explains the targets. Third-party build output lives in $FOREBAY_CACHE
# (~/.cache/forebay by default), outside the clone.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup build demo test check bench crash sim fuzz fuzz-sql fuzz-engine docs clean

# make demo BROKER=kafka runs on Apache Kafka; ARGS adds flags of `forebay demo` (for example ARGS="--until 2013-02-01").
BROKER ?= embedded
ARGS ?=
# make crash N=10000 S=3600 kills that often, for an hour at most; make sim N=100000 S=3600 plays that many seeds, as long.
N ?= 50
P ?= 4
B ?= 0
S ?= 1000000
WORKLOAD ?= loop
# make fuzz-engine SEED=7 plays the cases from 7 on; without it they are new ones.
SEED ?=

help: ## what there is to do
	@sed -n 's/^\([a-z-]*\): .*## /\1\t/p' $(MAKEFILE_LIST) | awk -F'\t' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: ## install what building needs and is missing (Debian or Ubuntu; root or sudo)
	@scripts/setup build

build: setup ## build the forebay binary
	@scripts/build

demo: ## run the whole loop on a year of New York flights (BROKER=kafka for Apache Kafka, ARGS="--speed max" for flags)
	@scripts/demo $(BROKER) $(ARGS)

test: ## install what is missing and run every test, against Apache Kafka too
	@scripts/test

check: ## quick: formatting, lints, the rules of the house, licences
	@scripts/check

bench: ## one workload: us, the peers and the floors in one run (WORKLOAD=loop)
	@bench/run $(WORKLOAD)

crash: build ## kill -9 a real server N times, for S seconds at most, and compare with undisturbed runs (N=50 P=4 partitions, B=0 kills of a run's broker)
	@scripts/crash $(N) $(P) $(B) $(S)

sim: setup ## play N seeds of the simulation, S seconds at most (N=50; adds to bench/results/sim.json)
	@scripts/sim $(N) $(S)

fuzz: setup ## run the property tests with new cases for S seconds (adds to bench/results/fuzz.json)
	@scripts/fuzz $(S)

fuzz-engine: setup ## compare N random cases of SQL with an evaluator outside the engine, S seconds at most (N=50 SEED=1; adds to bench/results/fuzz-engine.json)
	@scripts/fuzz-engine $(N) $(S) $(SEED)

fuzz-sql: setup ## plan N texts of an SQL grammar in limited processes, for S seconds at most (adds to bench/results/fuzz-sql.json)
	@scripts/fuzz-sql $(N) $(S)

docs: setup ## the pages that come from code, and the API documentation
	@scripts/rocksdb
	@. scripts/env.sh && cargo run --locked -q -p xtask -- docs && cargo doc --workspace --no-deps --locked

clean: ## remove our own build output; keeps what was downloaded and built for us by others
	@. scripts/env.sh && cargo clean --locked $$(sed -n 's/^name = "\(.*\)"/-p \1/p' crates/*/Cargo.toml)
