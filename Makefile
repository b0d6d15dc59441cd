# make run: a pinned environment in .venv, then the default comparison.
# make test: the same environment with the development tools, then every check.
# make parity: the same with TRL, and our losses and gradients beside those of its own trainers.
# PYTHON=python3.12 make ... takes another interpreter (3.11 or newer).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# One worker for each core; one that has run out of tests takes half of what the busiest has left, from the end, so that
# the tests of a file, and with them what they share, mostly stay together. Without this, pytest runs in one process.
WORKERS := -n logical --maxprocesses 8 --dist worksteal

.PHONY: run test types tests parity clean

run: $(VENV)/.installed
	$(BIN)/alignbench run --objectives dpo,kto,ppo

test: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	@$(MAKE) --no-print-directory --jobs 2 types tests

types:
	$(BIN)/mypy --strict

tests:
	$(BIN)/python -m pytest $(WORKERS)

parity: $(VENV)/.installed-parity
	$(BIN)/python -m pytest tests/parity

# A stamp is written last, so a set-up that was interrupted is taken up again.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "alignbench needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	@echo "Installing the pinned dependencies into $(VENV): a few minutes, once."
# The build tool comes first and is used as it is: left to itself, pip would fetch an unpinned one.
	$(INSTALL) setuptools
	$(INSTALL) --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(INSTALL) --no-build-isolation --editable '.[dev]'
	@touch $@

$(VENV)/.installed-parity: $(VENV)/.installed-dev
	$(INSTALL) --no-build-isolation --editable '.[dev,speed]'
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find alignbench objectives benchmarks tests -name __pycache__ -type d -prune -exec rm -rf {} +
