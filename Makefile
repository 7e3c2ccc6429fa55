# On a new machine with git, make and Python 3.11 or later: make setup, make demo, make test.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := PATH="$(CURDIR)/$(BIN):$$PATH"
# Tests run in one process per core, each with one thread; a file's tests stay together, as they share what they set up.
PYTEST := $(RUN) OMP_NUM_THREADS=1 python -m pytest -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow bench autoattack lint lock

help:
	@echo "make setup      install the locked environment in .venv"
	@echo "make demo       run the whole pipeline on embedded data: no download, no GPU"
	@echo "make test       check style and types, run the tests"
	@echo "make test-slow  run the tests that take minutes"
	@echo "make bench      measure speed, compared with a plain training loop and with an earlier version"
	@echo "make autoattack run AutoAttack on one model of the study"

setup: $(VENV)/ready

# pip installs uv from the lock and checks its hash. uv installs the rest, because pip would take minutes.
$(VENV)/ready: requirements.lock tools/offline_plots.py
	@$(PYTHON) -c 'import sys; sys.exit("error: Python 3.11 or later is needed; this is " + sys.version.split()[0] + "; run make setup PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	awk '/^[^ #]/ {wanted = /^uv==/} wanted' requirements.lock > $(VENV)/uv.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(VENV)/uv.lock
	$(BIN)/uv pip sync --quiet --require-hashes --compile-bytecode --python $(BIN)/python requirements.lock
	$(BIN)/python -m tools.offline_plots
	@touch $@

demo: setup
	@$(RUN) python -m tools.demo

test: setup lint
	$(PYTEST) -m "not slow"

test-slow: setup
	$(PYTEST) -m slow

# Prints tables and writes JSON to bench/results/. One program needs the study's split: dvc repro split.
bench: setup
	$(RUN) python -m bench.corruptions
	$(RUN) python -m bench.speed
	$(RUN) python -m bench.time_to_accuracy
	$(RUN) python -m bench.against --tasks step-imagenet step-half step-cifar start corruptions demo

# AutoAttack on one model of the study, in a separate environment. It needs the model: dvc repro, or dvc checkout.
autoattack: .venv-autoattack/ready
	.venv-autoattack/bin/python -m bench.autoattack

.venv-autoattack/ready: bench/autoattack.lock $(VENV)/ready
	$(BIN)/uv venv --quiet --clear .venv-autoattack
	$(BIN)/uv pip sync --quiet --require-hashes --python .venv-autoattack/bin/python bench/autoattack.lock
	@touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Run it after a change to pyproject.toml. The lock is valid on every platform and names no package index.
lock: setup
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url --extra pipeline --group dev pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--no-emit-index-url bench/autoattack.in -o bench/autoattack.lock
