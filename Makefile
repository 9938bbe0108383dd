# Everything that is downloaded or made goes under .venv and .tweetoscope.
SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
JARS := .tweetoscope/jars/.fetched
KERNELS := .tweetoscope/.compiled
#: Flags passed on, as in `make demo ARGS="--data FILE --json"` or `make test ARGS="-k broker"`.
ARGS ?=
#: A Python to make .venv from; the first of these that is new enough when not given.
PYTHON ?=
PYTHONS := $(if $(PYTHON),$(PYTHON),python3 python3.13 python3.12 python3.11)

# Nothing is left in caches outside the project.
UV_PIP := uv --no-cache pip
PIP := $(BIN)/python -m pip --no-cache-dir --disable-pip-version-check
NO_PYTHON := no Python 3.11 or newer found: install one (Debian, Ubuntu: apt-get install python3 python3-venv), \
  or name it: make setup PYTHON=/path/to/python3
NO_VENV := this Python cannot make virtual environments: install what it lacks \
  (Debian, Ubuntu: apt-get install python3-venv), or uv

.PHONY: setup demo test lint bench bench-hawkes bench-collector bench-pipeline bench-scale clean help

setup: $(INSTALLED) $(JARS) $(KERNELS) ## install packages and jars, compile (about 3 minutes the first time)

demo: setup ## run the whole loop on a local Kafka broker; flags in ARGS
	@$(BIN)/tweetoscope demo $(ARGS)

test: setup ## run all tests; pytest's flags in ARGS
	@$(BIN)/python -m pytest $(ARGS)

lint: setup ## check style, format, types and which part may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict jobs udfs
	$(BIN)/lint-imports

bench: bench-hawkes bench-collector bench-pipeline bench-scale ## run all benchmarks, one after the other (hours)

bench-hawkes: setup ## the batched fit beside scipy's Powell (a minute)
	@$(BIN)/python -m benchmarks.hawkes_fits $(ARGS)

bench-collector: setup ## the collector beside Scala, PyFlink, Quix Streams and plain Python (2 hours); flags in ARGS
	@$(BIN)/python -m benchmarks.collector $(ARGS)

bench-pipeline: setup ## all jobs under load: the rate they hold, the delay of predictions (15 minutes)
	@$(BIN)/python -m benchmarks.pipeline $(ARGS)

bench-scale: setup ## what larger streams need, worked out from the results of the others
	@$(BIN)/python -m benchmarks.scale

clean: ## remove .venv, .tweetoscope (broker data, models) and caches
	@if [ -x $(BIN)/tweetoscope ]; then $(BIN)/tweetoscope broker stop >/dev/null 2>&1 || true; fi
	rm -rf $(VENV) .tweetoscope build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find jobs udfs tests -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## show this
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 24

$(INSTALLED): requirements.lock pyproject.toml
	@set -eu; python=; \
	for candidate in $(PYTHONS); do \
	  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    python=$$candidate; break; \
	  fi; \
	done; \
	test -n "$$python" || { echo "setup: $(NO_PYTHON)" >&2; exit 3; }; \
	"$$python" -m jobs.runtime.java; \
	if command -v uv >/dev/null; then \
	  echo "setup: installing Python packages into $(VENV) with uv"; \
	  uv venv --quiet --allow-existing --python "$$python" $(VENV); \
	  $(UV_PIP) sync --python $(BIN)/python --require-hashes requirements.lock; \
	  $(UV_PIP) install --python $(BIN)/python --quiet --no-deps --no-build-isolation -e .; \
	else \
	  "$$python" -c 'import ensurepip, venv' 2>/dev/null || { echo "setup: $(NO_VENV)" >&2; exit 3; }; \
	  echo "setup: installing Python packages into $(VENV) with pip (pyspark is the large one)"; \
	  "$$python" -m venv $(VENV); \
	  $(PIP) install --require-hashes -r requirements.lock; \
	  $(PIP) install --quiet --no-deps --no-build-isolation -e .; \
	fi
	@touch $@

$(JARS): conf/ivy.xml conf/jars.sha256 | $(INSTALLED)
	@$(BIN)/python -m jobs.runtime.jars --home .tweetoscope
	@touch $@

$(KERNELS): $(wildcard udfs/*.py udfs/*/*.py) | $(INSTALLED)
	@$(BIN)/python -m jobs.runtime.warm_up
	@mkdir -p $(@D) && touch $@
