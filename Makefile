# What there is to do here. `make` alone lists it.

.DEFAULT_GOAL := help
.PHONY: help run load test compose-test bench soak build dist check fmt docs certs api-test tls-grade fuzz smuggle hostile

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## build, then run the demo: Lintel and the three Node workers that it runs, until Ctrl-C
# On a terminal, Ctrl-C would end make as well, and make would report that; so the script gets the terminal to itself
# (-m), and should its shell be ended from outside, the kernel tells it.
	@if [ -t 0 ]; then exec bash -mc 'setpriv --pdeathsig TERM scripts/run; exit $$?'; else exec scripts/run; fi

load: ## mixed traffic at the demo for 5 minutes, with a live line; LOAD="--rate 500 --seconds 60" says otherwise
	@exec scripts/load $(LOAD)

test: ## install what the tests need and run everything
	@scripts/test

bench: ## measure Lintel side by side with nginx, HAProxy, Envoy, Caddy and Traefik (BENCH=--quick for minutes)
	@scripts/bench $(BENCH)

soak: ## mixed traffic with reloads, rollouts and failing servers for 8 hours, and a plot; SOAK="--minutes 30" says otherwise
	@scripts/soak $(SOAK)

compose-test: ## docker-compose.yml and deploy/, with an engine of its own where none runs (root; some ten minutes)
	@scripts/compose-test everything

build: ## build the release binary, target/release/lintel
	@scripts/setup build
	cargo build --release --locked

dist: ## build target/dist/lintel, the binary to hand out: a fifth fewer instructions, and a quarter of an hour in the making
	@scripts/dist $(DIST)

check: ## the fast half of `make test`: format, clippy, unit tests
	@scripts/test fmt clippy unit

fmt: ## format the Rust code
	cargo fmt

docs: ## write docs/reference.md anew from the code
	cargo run --locked --quiet -- reference > docs/reference.md.new
	mv docs/reference.md.new docs/reference.md

certs: ## make the certificates for localhost in certs-dev/
	@scripts/certs-dev

api-test: ## hold the control interface against its description, by schemathesis from PyPI
	@cargo build --locked --quiet
	@scripts/api-test

fuzz: ## feed each fuzz target for 30 s; FUZZ="--seconds 1200 path" says otherwise
	@exec scripts/fuzz $(FUZZ)

smuggle: ## mutated requests through Lintel to real servers, 50,000 for each (SMUGGLE="--cases 1000 --seed 7" says otherwise)
	@scripts/smuggle $(SMUGGLE)

hostile: ## attacks at scale with a normal client beside them: latency, memory and descriptors (some ten minutes)
	@scripts/hostile $(HOSTILE)

tls-grade: ## grade TLS with default settings by testssl.sh and sslscan; fails on anything weak
	@cargo build --locked --quiet
	@scripts/tls-grade
