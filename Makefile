# Every target creates the virtual environment .venv if necessary; only Python and make are needed.
# To use another Python: make PYTHON=python3.12 test

PYTHON ?= python3
PROCESSES ?= 2
# The extra that installs CuPy: gpu13 for drivers with CUDA 13, gpu for CUDA 12
CUPY ?= gpu13

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
INSTALLED_DEV := $(VENV)/installed-dev
INSTALLED_DOCS := $(VENV)/installed-docs
INSTALLED_VALIDATION := $(VENV)/installed-validation
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: help demo test lint docs bench validate gpu-report clean
.DELETE_ON_ERROR:

help:
	@echo "make demo      train Yin-Yang with learned delays; results and plots go into runs/demo"
	@echo "make test      run the tests"
	@echo "make lint      check style and types"
	@echo "make docs      build the documentation in site/"
	@echo "make bench     check the results of the benchmarks, then measure their speed"
	@echo "make validate  test the claims about evsim; takes hours; continues after an interruption"
	@echo "make gpu-report"
	@echo "               test the grid engine, on a GPU if there is one; writes docs/grid_report.md"
	@echo "make clean     remove everything that the other targets created, except runs/"

demo: $(INSTALLED)
	$(BIN)/evsim train yin-yang --hidden 30 --delays --time-limit 110 --out runs/demo --replace

test: $(INSTALLED_DEV)
	$(BIN)/python -m pytest -n $(PROCESSES)

lint: $(INSTALLED_DEV)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: $(INSTALLED_DOCS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(INSTALLED_DEV)
	$(BIN)/python benchmarks/report.py

validate: $(INSTALLED_VALIDATION)
	$(BIN)/python validation/run.py --out runs/validation --write runs/validation/validation.md

gpu-report: $(INSTALLED)
	@if command -v nvidia-smi >/dev/null; then $(PIP) --editable ".[$(CUPY)]"; fi
	$(BIN)/python validation/grid_report.py --out docs

clean:
	rm -rf $(VENV) build dist site .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find evsim gpu tests -name __pycache__ -type d -prune -exec rm -rf {} +

# Each file $(VENV)/installed... is written last, so an interrupted installation is repeated.
$(INSTALLED): pyproject.toml
	@command -v $(PYTHON) >/dev/null || \
	    { echo "$(PYTHON) was not found: evsim needs Python 3.11 or newer, make PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("$(PYTHON) is Python " + \
	    sys.version.split()[0] + ": evsim needs 3.11 or newer, make PYTHON=...")'
	@echo "installing evsim and its dependencies into $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --editable .
	@touch $@

$(INSTALLED_DEV): $(INSTALLED)
	@echo "installing the dependencies of the tests, about 1.1 GB"
	@$(PIP) --editable ".[dev]"
	@touch $@

$(INSTALLED_DOCS): $(INSTALLED)
	@$(PIP) --editable ".[docs]"
	@touch $@

# Where an opponent cannot be installed, the claims about it report that they were not tested.
$(INSTALLED_VALIDATION): $(INSTALLED_DEV)
	@$(PIP) --editable ".[validation]" && touch $@ || \
	    echo "some programs to compare with could not be installed: some claims are not tested"
