# Daily commands. Each can also be typed by hand: no target hides a tool.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile -q --no-strip-extras --universal --generate-hashes --python-version 3.11

.PHONY: help setup up demo test soak chaos check screenshots bench bench-record fmt lint types cov lock clean

##@ Run it (needs Python 3.11 or newer, nothing else)

help: ## this list
	@echo 'Spot: every spot market of Coinbase in PostgreSQL, live. New here? make demo, then http://localhost:8080'
	@awk -F ':.*## ' '/^##@ / {printf "\n%s\n", substr($$0, 5)} /^[a-z%-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@printf '\nOne part of it\n'
	@printf '  %-34s %s\n' '.venv/bin/pytest tests/store' 'the tests of one package' \
	  '.venv/bin/pytest -m "not process"' 'tests that start no programs; other kinds: db, slow, e2e' \
	  '.venv/bin/spot --help' 'what Spot itself can do'

setup: $(VENV)/.installed $(VENV)/.assets ## everything into .venv, with the command .venv/bin/spot

$(VENV)/.installed: pyproject.toml requirements-dev.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Spot needs Python 3.11 or newer: make setup PYTHON=python3.13")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install -q --no-build-isolation --no-deps -e .
	@touch $@

# The page's scripts, pinned by hash. Without a network the set-up goes on and the page says what is missing;
# the next make tries again.
$(VENV)/.assets: $(VENV)/.installed $(wildcard spot/gateway/assets.py)
	@$(BIN)/python -m spot.gateway.assets && touch $@ || echo "make: the page's scripts could not be fetched now; trying again next time"

up: setup ## everything on this machine, on Coinbase's live prices
	@exec $(BIN)/spot up

demo: setup ## the same on a simulated exchange: no account, no network once set up
	@exec $(BIN)/spot demo

##@ Test it (real PostgreSQL, sockets and processes; what a machine lacks is skipped, and said)

# Three at a time also on two cores: half of the time goes by in waiting for programs.
test: setup ## all tests
	@$(BIN)/python -m pytest -q -n 3 --dist loadfile

soak: setup ## a fleet with every fault on for some minutes, judged candle by candle
	@$(BIN)/python -m tests.soak

chaos: setup ## accidents at full length: about an hour, prints recovery times
	@SPOT_CHAOS=full $(BIN)/python -m pytest -q -p no:randomly tests/chaos

check: lint types test ## what must pass before a commit is shared

screenshots: setup ## the pictures in docs/images, of a demo as it runs
	@PYTHONPATH=. $(BIN)/python docs/screenshots.py

bench: setup ## all benchmarks in ten minutes, with their peers where installed
	@$(BIN)/python -m bench

bench-record: setup ## all of them at length, and their tables into docs/performance.md
	@$(BIN)/python -m bench --effort full --record

bench-%: setup ## one of them, at length
	@$(BIN)/python -m bench $*

##@ Change it (before a commit: make fmt check)

fmt: setup ## format the code and mend what ruff can
	$(BIN)/ruff check --fix-only -q .
	$(BIN)/ruff format -q .

lint: setup ## style, format, import order, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/codespell $$(git ls-files)

types: setup ## mypy, strict
	$(BIN)/mypy

cov: setup ## all tests, with branch coverage in htmlcov/
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --cov --cov-report=term:skip-covered --cov-report=html

lock: setup ## new pinned and hashed versions for pyproject.toml's ranges
	$(LOCK) pyproject.toml -o requirements.lock
	$(LOCK) --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock
	echo "hatchling" | $(LOCK) -c requirements-dev.lock - -o requirements-build.lock
	@sed -i.old '/^spot[ @=]/d' requirements.lock requirements-dev.lock && rm -f requirements.lock.old requirements-dev.lock.old

clean: ## remove .venv and everything built; keeps the databases in .spot
	rm -rf $(VENV) build dist htmlcov .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
