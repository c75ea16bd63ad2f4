# Two commands matter: `make demo` and `make test`. `make help` lists the rest.

export CARGO_TARGET_DIR ?= $(HOME)/.cache/syncline/target
SHELL := bash
.DEFAULT_GOAL := help
.PHONY: help docs demo down down-tests set-up binary build test lint fmt clippy deny chart observability image sbom image-lint chart-run clients conformance coverage compare compare-corruptions chaos crash-matrix ci

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F '\t' '{ printf "  make %-20s %s\n", $$1, $$2 }'

demo: build ## refresh a production org into a sandbox, masked, end to end; leaves everything running
	@deploy/local/demo.sh

down: ## stop exactly what `make demo` started
	@deploy/local/down.sh

down-tests: ## stop the servers that a bare `cargo test` left for the next one
	@deploy/local/down.sh --tests

set-up: ## make sure NATS and PostgreSQL can be started
	@deploy/local/servers.sh provision

binary: ## the product: one program; the image is made of exactly this step
	cargo build --locked --release -p syncline-cli

build: set-up binary ## the release programs
	cargo build --locked --release -p syncline-salesforce-simulator

test: set-up ## every test, against private real servers
	@.ci/test

lint: fmt clippy ## format check and clippy, without a warning

fmt:
	cargo fmt --all --check

clippy:
	cargo clippy --locked --workspace --all-targets -- -D warnings

deny: ## dependencies: licenses, bans, sources, advisories
	@.ci/deny

chart: ## the Helm chart: lint, render, Kubernetes' schemas, what it promises and refuses
	@.ci/chart

docs: ## documentation: commands, variables, codes and links that it names are there
	@.ci/docs

observability: ## alerts and dashboards: valid, alerts fire when they should, and both name only what there is
	@.ci/observability

image: ## the container image, if a container engine is here (docs/image.md)
	@deploy/image/build.sh

sbom: ## the bill of materials of the product, .local/sbom.cdx.json (CycloneDX)
	@deploy/image/sbom.py .local/sbom.cdx.json

image-lint: ## Dockerfile, compose.yaml and bill of materials: linted, valid, and as the sources and the chart say
	@.ci/image

chart-run: build ## start every service with exactly the arguments, environment, ports and probes of the chart
	@SYNCLINE_BIN=$(CARGO_TARGET_DIR)/release .ci/chart run

clients: build ## drive an installation with a client that is generated from proto/
	@SYNCLINE_BIN=$(CARGO_TARGET_DIR)/release .ci/clients

conformance: ## drive the simulator with real clients of Salesforce and print what each could do (tests/conformance)
	cargo build --locked --release -p syncline-salesforce-simulator
	@SYNCLINE_BIN=$(CARGO_TARGET_DIR)/release .ci/conformance

coverage: set-up ## line coverage of all tests
	@.ci/coverage

compare: ## compare the demo's two orgs over plain REST, and scan every file under .local/ for leaks
	@deploy/local/compare.sh

compare-corruptions: build ## prove on a small demo of its own that `make compare` finds swapped, lost and unmasked records
	@tests/compare/corruptions.py

chaos: set-up ## break a running installation for CHAOS_MINUTES (10), each trial checked over plain REST; CHAOS_SEED repeats one (docs/chaos.md)
	cargo build --locked -p syncline-cli -p syncline-salesforce-simulator -p syncline-chaos
	@$(CARGO_TARGET_DIR)/debug/syncline-chaos run

crash-matrix: ## docs/crash-matrix.md, from what is recorded in tests/chaos/records.jsonl and by `make chaos`
	cargo build --locked -p syncline-chaos
	@$(CARGO_TARGET_DIR)/debug/syncline-chaos matrix tests/chaos/records.jsonl $(wildcard .local/chaos/*.jsonl)

ci: ## what a change must pass
	@bash .ci/run
