# make run: a pinned environment in .venv, then the default comparison.
# make test: the same environment with the development tools, then every check.
# PYTHON=python3.12 make ... takes another interpreter (3.11 or newer).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: run test clean

run: $(VENV)/.installed
	$(BIN)/alignbench run --objectives dpo,kto,ppo

test: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --strict
	$(BIN)/python -m pytest

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

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find alignbench objectives benchmarks tests -name __pycache__ -type d -prune -exec rm -rf {} +
