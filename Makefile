PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check
INSTALLED := $(VENV)/.installed
TESTABLE := $(VENV)/.testable

.DEFAULT_GOAL := help
.PHONY: help train trend test test-slow test-newest lint format doctor prove evidence bench bench-gpu bench-models bench-peers bench-serve docs docs-output clean

help: ## lists the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

train: $(INSTALLED) ## trains the base policy on the embedded BTC-USD sample
	$(BIN)/python -m train.ppo

test: $(TESTABLE) ## the default tests; HIMARI_DATA: real candles for some of them
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

test-slow: $(TESTABLE) ## the tests that take minutes
	$(BIN)/python -m pytest -m slow

# What others hold back though pyproject.toml admits it: jax by gymnax, orbax-checkpoint by jax2onnx.
BEYOND ?= jax jaxlib orbax-checkpoint
NEWEST := build/newest
NEWEST_PIP := $(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade --upgrade-strategy eager
NEWEST_PYTHON ?= $(lastword $(foreach k,11 12 13 14 15,$(shell python3.$(k) -c 'print("python3.$(k)")' 2>/dev/null)))
test-newest: ## the default tests on the newest Python and libraries
	@test -n "$(NEWEST_PYTHON)" || { echo "make test-newest: no python3.11 or newer is on the PATH; NEWEST_PYTHON=... names one"; exit 2; }
	@rm -rf $(NEWEST) && $(NEWEST_PYTHON) -m venv $(NEWEST)
	@$(NEWEST_PIP) pip
	@$(NEWEST_PIP) -e '.[test]' || { echo "extra export does not resolve: its tests are skipped"; $(NEWEST_PIP) -e '.[tools]'; }
	@$(NEWEST)/bin/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' > $(NEWEST)/ranges.txt
	@test -z "$(BEYOND)" || $(NEWEST_PIP) --upgrade-strategy only-if-needed -c $(NEWEST)/ranges.txt $(BEYOND)
	@$(NEWEST)/bin/python --version && $(NEWEST)/bin/python -m pip list && $(NEWEST)/bin/python -m pip check || true
	PATH="$(CURDIR)/$(NEWEST)/bin:$$PATH" $(NEWEST)/bin/python -m pytest -m "not slow" -n 2 --dist loadfile -rs $(ARGS)

lint: $(TESTABLE) ## style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(TESTABLE) ## mends the style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

doctor: $(INSTALLED) ## versions, laws, speed on this device; what to do about it
	$(BIN)/python -m train.doctor $(ARGS)

trend: $(INSTALLED) ## trains on the daily candles of many coins in HIMARI_DATA/daily
	@test -n "$(HIMARI_DATA)" -a -d "$(HIMARI_DATA)/daily" || { echo "make trend: HIMARI_DATA must name a folder with daily/, candles of many coins"; exit 2; }
	$(BIN)/python -m train.ppo --preset trend --data $(HIMARI_DATA)/daily --split 2017-01-01 2018-01-01 --num-seeds 4

SEEDS ?= 3
prove: $(INSTALLED) ## trains on every market with a known optimum; SEEDS=3
	$(BIN)/python -m train.prove --seeds $(SEEDS)

evidence: $(INSTALLED) ## yearly retraining on HIMARI_DATA/daily: is there an edge?
	@test -n "$(HIMARI_DATA)" -a -d "$(HIMARI_DATA)/daily" || { echo "make evidence: HIMARI_DATA must name a folder with daily/, candles of many coins"; exit 2; }
	$(BIN)/python -m train.evidence --data $(HIMARI_DATA)/daily $(ARGS)

bench-models: $(INSTALLED) ## time, memory, latency of three models; ARGS="--data candles/"
	@$(PIP) -e '.[export]'
	$(BIN)/python -m train.bench_models $(ARGS)

bench: $(INSTALLED) ## steps per second of training, bars per second of backtests
	@$(PIP) -e '.[bench]'
	$(BIN)/python -m train.bench

bench-gpu: $(INSTALLED) ## all that a device does, in five minutes; ARGS="--minutes 10"
	$(BIN)/python -m train.bench_gpu $(ARGS)

bench-peers: $(INSTALLED) ## time to a good policy, beside rejax and stable-baselines3
	@$(PIP) -e '.[bench]'
	$(BIN)/python -m train.bench_peers $(if $(HIMARI_DATA),--data $(firstword $(wildcard $(HIMARI_DATA)/spot/BTC*))) $(ARGS)

bench-serve: $(INSTALLED) ## latency, rate, start, memory, size of the server
	@$(PIP) -e '.[export,serve]' 'fastapi>=0.115,<1'
	@rm -rf build && $(PYTHON) -m venv build/serve
	@build/serve/bin/pip install -q -q --disable-pip-version-check --no-deps .
	@build/serve/bin/pip install -q -q --disable-pip-version-check --no-warn-conflicts -r export/deploy/requirements.txt
	$(BIN)/python -m export.bench --venv build/serve

docs: $(INSTALLED) ## builds the pages of docs/ as a web site in build/docs
	@$(PIP) -e '.[docs]'
	$(BIN)/mkdocs build --strict

PAGES ?= README.md $(wildcard docs/*.md)
LONG ?=
docs-output: $(INSTALLED) ## console blocks from real runs; PAGES=README.md LONG=bench
	@$(PIP) -e '.[docs,test]' $(if $(filter bench bench-peers,$(LONG)),-e '.[bench]')
	LONG="$(LONG)" $(BIN)/cog -c -P -r -I docs -p 'import console' $(PAGES)

clean: ## removes the environment and what was built
	rm -rf $(VENV) build *.egg-info

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "HIMARI JAX needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	@echo "setting up $(VENV) (once, a minute or two) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) --upgrade pip
	@$(PIP) -e .
	@touch $(INSTALLED)

$(TESTABLE): $(INSTALLED)
	@echo "installing what the tests need (once) ..."
	@$(PIP) -e '.[test]'
	@touch $(TESTABLE)
