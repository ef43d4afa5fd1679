# Every target makes what it needs; `make` or `make help` lists them.

PYTHON ?=
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
JOBS   ?= 2
MINUTES ?= 30
PYTEST := $(BIN)/python -m pytest

# Tests start hundreds of processes; where bytecode may not be kept, each of them compiles every module anew.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help venv lock services services-stop demo test test-fast test-services test-gpu lint format types contracts docs bench bench-grpc bench-costs bench-features bench-density bench-overload soak clean

help: ## show this list
	@echo "Kaname: make TARGET"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[1m%-14s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(STAMP) ## create .venv and install exactly what requirements.lock names

$(STAMP): requirements.lock pyproject.toml tools/venv.sh
	@PYTHON="$(PYTHON)" sh tools/venv.sh $(VENV)

lock: ## resolve pyproject.toml again into requirements.lock, and what tests of frameworks need
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	  --no-emit-index-url --extra all --extra examples --group dev pyproject.toml -o requirements.lock
	@sh tests/frameworks/environments/lock.sh

services: ## install the servers that tests start (PostgreSQL, Redis, …); start Cassandra and HBase and say how to use them
	@sh tools/services.sh
	@sh services/start.sh

services-stop: ## end the Cassandra and HBase that `make services` started
	@sh services/start.sh stop

demo: $(STAMP) ## train on real flights, serve, replay traffic; KEEP=1 leaves the server running
	@$(BIN)/python examples/flights/demo.py $(if $(KEEP),--keep)

test: $(STAMP) ## everything: lint, types, contracts, tests, the code in the docs
	@BIN=$(BIN) JOBS=$(JOBS) sh tools/test.sh

test-fast: $(STAMP) ## the quick tests only, under a minute
	@$(PYTEST) -n $(JOBS) -q -m "not slow and not serial and not services"

test-services: $(STAMP) ## the suites that start heavy servers
	@$(PYTEST) -m services; code=$$?; \
	 if [ $$code -eq 5 ]; then echo "no suite needs a heavy server"; exit 0; fi; exit $$code

test-gpu: $(STAMP) ## what needs a CUDA device, with onnxruntime-gpu in the place of onnxruntime
	@$(PYTEST) -m gpu

lint: $(STAMP) ## ruff: rules and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP) ## let ruff fix and format what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP) ## mypy, strict, over src and tests
	$(BIN)/mypy

contracts: $(STAMP) ## import-linter: the floors of the house
	$(BIN)/lint-imports

docs: $(STAMP) ## build the documentation into docs/_build/html; a warning is an error
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html
	@echo "open docs/_build/html/index.html"

bench: $(STAMP) ## compare with other model servers and write docs/benchmarks.md (long)
	$(BIN)/python benchmarks/serving.py

bench-grpc: $(STAMP) ## gRPC beside two other servers and a bare grpcio; writes its part of docs/benchmarks.md (3 minutes)
	$(BIN)/python -m benchmarks.grpc

bench-costs: $(STAMP) ## what keys, limits, the record, the cache, TLS and tracing cost; writes its part (2 minutes)
	$(BIN)/python -m benchmarks.costs

bench-features: $(STAMP) ## reading and writing features, beside Feast on the same rows; writes its part (5 minutes)
	$(BIN)/python -m benchmarks.features

bench-density: $(STAMP) ## 10,000 models on one worker within a budget of memory; writes its part of docs/benchmarks.md
	$(BIN)/python -m benchmarks.density

bench-overload: $(STAMP) ## goodput and latency over the offered load, beside two other servers (10 minutes)
	$(BIN)/python benchmarks/overload.py

soak: $(STAMP) ## every protocol and every change at once; MINUTES=30; no leak, no error that no client caused
	@$(BIN)/python -m benchmarks.soak --minutes $(MINUTES)

clean: ## remove caches and build results; the virtual environment stays
	rm -rf build dist docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
