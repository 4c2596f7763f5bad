# Everything a newcomer types. `make help` lists it.
#
# A recipe needs nothing that was installed by hand: what is missing is installed (Debian packages, as root), or the
# recipe says exactly what to install. Everything else goes into .venv and the cache folder.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

CACHE := $(or $(TASKJOBS_CACHE_DIR),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/taskjobs)
export PATH := $(CACHE)/go/bin:$(PATH):/usr/local/go/bin

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TYPED := $(foreach folder,operator api cluster tests e2e demo bench,$(if $(shell git ls-files $(folder)),$(folder)))
CHECKED := $(TYPED) scripts

# Which development cluster: `make cluster-up CLUSTER=mine PROVIDER=kwok`.
CLUSTER ?= taskjobs
PROVIDER ?= auto
# Options for pytest: `make test-fast ARGS="-k retry -x"`.
ARGS ?=
# KEEP=1: the demo leaves everything running.
KEEP ?=
# INSTALL=helm: the demo builds the image and installs the chart by Helm; everything then runs in pods.
INSTALL ?=

.PHONY: help
help: ## List the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@printf '\nVariables: KEEP=1, INSTALL=helm (demo), CLUSTER and PROVIDER (cluster-up, run-...), ARGS (for pytest), PYTHON (for install)\n'

.PHONY: go
go:
	@scripts/prerequisites.sh go

.PHONY: install venv
install: $(STAMP) ## Make .venv with the locked dependencies and this project in it
venv: install ## The same as install

$(STAMP): requirements.lock pyproject.toml
	@python=$$(scripts/prerequisites.sh python); \
	echo "setting $(VENV) up with $$($$python --version)"; \
	test -x $(BIN)/python || $$python -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: binaries
binaries: install go ## Build the cluster's programs (etcd, Kubernetes, kwok) into the cache; minutes, once
	@$(BIN)/python -m taskjob_cluster build

.PHONY: demo
demo: install go ## Bring up a cluster, PostgreSQL, the operator and the API, and count words in pods (KEEP=1, INSTALL=helm)
	@$(BIN)/python -m demo $(if $(INSTALL),--install=$(INSTALL)) $(if $(KEEP),--keep)

.PHONY: demo-down
demo-down: install ## Take down what `make demo KEEP=1` left running
	@$(BIN)/python -m demo --down

# How many processes share the tests: much of a run waits for the cluster. Each has control planes of its own.
WORKERS ?= 2

.PHONY: test
test: binaries ## Run every test: unit, properties, contracts, integration, end to end (WORKERS=0: one after another)
	@$(BIN)/python -m pytest --numprocesses $(WORKERS) --no-loadscope-reorder $(ARGS)

.PHONY: test-fast
test-fast: install ## Run the tests that need no cluster; an answer within a minute
	@$(BIN)/python -m pytest -m "not cluster and not real_pods" -k "not [real and not [postgresql" \
		tests/unit tests/properties tests/contracts $(ARGS)

.PHONY: test-integration
test-integration: binaries ## Run the tests against a real API server and a real PostgreSQL
	@$(BIN)/python -m pytest tests/contracts tests/integration $(ARGS)

.PHONY: test-e2e
test-e2e: binaries ## Run the tests on a real cluster with real pods
	@$(BIN)/python -m pytest e2e $(ARGS)

.PHONY: test-ha
test-ha: binaries ## Kill, freeze and restart leaders for a quarter of an hour; prints its figures as JSON lines
	@$(BIN)/python -m pytest -m ha tests/integration/test_leadership.py $(ARGS)

.PHONY: test-life
test-life: binaries ## Measure the life of jobs and their logs, half an hour; prints its figures as JSON lines
	@$(BIN)/python -m pytest -s -m life tests/integration e2e $(ARGS)

# How many schedules of faults `make chaos` plays, and the first seed (empty: drawn at random, and printed).
SCHEDULES ?= 20
SEED ?=
CHAOS = PYTHONPATH=tests:. $(BIN)/python -m chaos $(if $(SEED),--seed $(SEED))

.PHONY: chaos
chaos: binaries ## Random faults on the real control plane, and 2,000 schedules of simulated ones; prints its figures
	@$(CHAOS) --simulated 2000 --schedules $(SCHEDULES) $(ARGS)

.PHONY: chaos-full
chaos-full: binaries ## The same with 200 schedules on the real control plane; hours
	@$(CHAOS) --simulated 2000 --schedules 200 $(ARGS)

# How long `make soak` lasts; options: ARGS="--rate 10 --seed 7".
MINUTES ?= 60

.PHONY: soak
soak: binaries ## 30 jobs a second for an hour (MINUTES=) with faults: do memory, descriptors and lag stay flat? Prints figures
	@PYTHONPATH=tests:. $(BIN)/python -m chaos.soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(ARGS)

# How many requests of each call `make fuzz` makes up in each of its ways.
EXAMPLES ?= 300

.PHONY: fuzz
fuzz: binaries ## Requests made up from the API's schema, by schemathesis; SEED= repeats, EXAMPLES= says how many; minutes
	@seed=$(or $(SEED),$$RANDOM); echo "make fuzz SEED=$$seed EXAMPLES=$(EXAMPLES) repeats it"; \
	TASKJOBS_SEED=$$seed TASKJOBS_FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest \
		tests/integration/test_openapi_fuzzed.py $(ARGS)

.PHONY: lint
lint: install ## Check style, types and the import rule
	@$(BIN)/ruff check $(CHECKED)
	@$(BIN)/ruff format --check $(CHECKED)
	@$(BIN)/mypy $(filter-out e2e,$(TYPED))
	@$(BIN)/mypy e2e  # apart: its conftest has the name of the tests' own
	@$(BIN)/lint-imports

.PHONY: format
format: install ## Format the code and sort the imports
	@$(BIN)/ruff check --fix-only --quiet $(CHECKED)
	@$(BIN)/ruff format $(CHECKED)

.PHONY: generate
generate: install ## Write the CRDs from the models, and the chart's copy of them
	@$(BIN)/python -m taskjob.resources.generate
	@$(BIN)/python scripts/chart.py

.PHONY: verify
verify: lint generate ## Lint, generate anew, and fail when that changed a file
	@git diff --exit-code --stat -- crds charts || \
		{ echo "crds/ or charts/ differ from their sources: commit what 'make generate' wrote"; exit 1; }

.PHONY: lock
lock: install ## Lock the dependencies of pyproject.toml anew
	@$(BIN)/uv pip compile --quiet --universal --upgrade --generate-hashes --group dev pyproject.toml -o requirements.lock
	@# What goes into the image, and what builds it: the same versions.
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes -c requirements.lock \
		pyproject.toml -o requirements-runtime.lock
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes -c requirements.lock \
		--group build -o requirements-build.lock

.PHONY: cluster-up
cluster-up: binaries ## Bring up a development cluster (CLUSTER=taskjobs, PROVIDER=auto)
	@$(BIN)/python -m taskjob_cluster up --name $(CLUSTER) --provider $(PROVIDER)

.PHONY: cluster-down
cluster-down: install ## Take the development cluster and its PostgreSQL down
	@$(BIN)/python -m demo.develop down --name $(CLUSTER)

.PHONY: run-operator
run-operator: install ## Run the operator in this terminal, against the development cluster
	@exec $(BIN)/python -m demo.develop operator --name $(CLUSTER)

.PHONY: run-api
run-api: install ## Run the API in this terminal, against the development cluster
	@exec $(BIN)/python -m demo.develop api --name $(CLUSTER)

# Which of the small benchmarks: `make bench-micro BENCH="core history"`. Options of the large: SUITE="--jobs 500".
BENCH ?= $(patsubst bench/%.py,%,$(wildcard bench/*.py))
SUITE ?=
RESULTS ?= build/bench

.PHONY: bench
bench: binaries ## Measure TaskJobs on simulated nodes, everything of one run; ten minutes
	@mkdir -p $(RESULTS)
	@$(BIN)/python -m bench.suite run --out $(RESULTS)/bench.json --shapes free quota nodes logs steady chain fan diamonds \
		--peers pods taskjobs taskjobs-default $(SUITE)

.PHONY: bench-peers
bench-peers: binaries ## The same work on bare pods, Jobs, Jobs through Kueue and TaskJobs; 45 minutes at most
	@mkdir -p $(RESULTS)
	@$(BIN)/python -m taskjob_cluster build kueue
	@$(BIN)/python -m bench.suite run --out $(RESULTS)/peers.json --minutes 43 --repeat 3 --per-queue 50 \
		--shapes free quota steady kueue-baseline nodes logs chain fan diamonds \
		--peers pods jobs kueue taskjobs taskjobs-default $(SUITE)

.PHONY: bench-full
bench-full: binaries ## Every shape at full size, 20,000 live jobs, 50,000 that wait, 50,000 that pass; hours
	@mkdir -p $(RESULTS)
	@$(BIN)/python -m taskjob_cluster build kueue
	@$(BIN)/python -m bench.suite run --out $(RESULTS)/full.json --repeat 2 \
		--shapes free quota nodes logs steady chain fan diamonds many kueue-baseline restart pending churn \
		flood \
		--peers pods jobs kueue taskjobs taskjobs-default $(SUITE)

.PHONY: bench-profile
bench-profile: binaries ## Where the operator's CPU goes, by package and by function (under cProfile)
	@$(BIN)/python -m bench.suite profile $(SUITE)

.PHONY: bench-compare
bench-compare: install ## Two runs side by side (BEFORE=a.json AFTER=b.json)
	@$(BIN)/python -m bench.suite compare $(BEFORE) $(AFTER)

.PHONY: bench-report
bench-report: install ## A page with tables and charts from a run's results (RUN=build/bench/peers.json)
	@$(BIN)/python -m bench.suite report $(or $(RUN),$(RESULTS)/peers.json) $(RESULTS)

.PHONY: bench-docs
bench-docs: install ## Show a run in the docs: its figures, page and charts (RUN=build/bench/peers.json)
	@mkdir -p docs/benchmarks
	@cp $(or $(RUN),$(RESULTS)/peers.json) docs/benchmarks/run.json
	@$(BIN)/python -m bench.suite report docs/benchmarks/run.json docs/benchmarks --shown-in docs/benchmarks.md

.PHONY: bench-micro
bench-micro: binaries ## The parts by themselves: core, history, API, requests (BENCH="core history": only those)
	@for each in $(BENCH); do echo "== bench/$$each.py"; $(BIN)/python bench/$$each.py || exit 1; done

.PHONY: bench-core
bench-core: $(VENV) ## What a scheduling decision costs, against what it may: one JSON object a figure, some minutes
	@$(BIN)/python bench/core.py

.PHONY: clean
clean: ## Remove .venv and what tools left behind (not the cache of built programs)
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .pytest-kind
	find $(TYPED) -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: image
image: ## Build the image of the operator and the API (IMAGE=..., BASE=...), with Docker, podman or buildah
	@scripts/image.sh

.PHONY: test-helm
test-helm: binaries ## Install the image and the chart by Helm on a cluster with real pods, and print the figures
	@$(BIN)/python -m taskjob_cluster build helm kube-proxy coredns
	@TASKJOBS_TEST_HELM=1 $(BIN)/python -m pytest e2e/test_helm.py \
		e2e/test_demo.py::test_the_demo_does_the_same_in_pods_that_helm_installed $(ARGS)

.PHONY: chart-docs
chart-docs: install ## Write the chart's CRDs, the schema of its values and their table in its README
	@$(BIN)/python scripts/chart.py
