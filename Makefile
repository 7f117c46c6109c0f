# All targets use one virtual environment, .venv, and need only Python and make.
# To use another Python: make PYTHON=python3.12 test

PYTHON ?= python3
PROCESSES ?= 2
# The extra that installs CuPy: gpu for CUDA 12, gpu13 for CUDA 13
CUPY ?= gpu13

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
INSTALLED_DEV := $(VENV)/installed-dev
INSTALLED_DOCS := $(VENV)/installed-docs
INSTALLED_VALIDATION := $(VENV)/installed-validation
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Each process runs its own share of the files, so that what they keep is made once.
PYTEST := python -m pytest -n $(PROCESSES) --dist worksteal
# Installs other versions than the newest; it trusts the certificates that pip trusts.
UV := UV_SYSTEM_CERTS=1 $(BIN)/uv --quiet
INSTALLED_UV := $(VENV)/installed-uv
LOWEST := $(CURDIR)/build/lowest
# The tests of what depends on other libraries.
LOWEST_TESTS := $(patsubst %,tests/test_%.py,cli datasets exact grid import plotting \
    reference simulation storage training training_options)
WHEEL := $(CURDIR)/build/wheel
# PyTorch without CUDA, which is ten times smaller; TORCH_INDEX= takes the one of PyPI.
TORCH ?= torch
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
EXTRAS := $(CURDIR)/build/extras
# The tests that need the extras or libraries that evsim works with; make test leaves them out.
EXTRAS_TESTS := $(wildcard $(CURDIR)/tests/test_nir*.py) \
    $(patsubst %,$(CURDIR)/tests/test_%.py,torch jax mpi data_in results \
    study_executors certified examples_with_extras examples)

.PHONY: help demo test test-fast test-lowest test-extras test-wheel lint docs bench validate gpu-report clean wheel
.DELETE_ON_ERROR:

help:
	@echo "make demo      train a network on Yin-Yang with learned delays; results and plots in runs/demo"
	@echo "make test      run all tests"
	@echo "make test-fast run the fast tests only, while you work"
	@echo "make test-lowest"
	@echo "               run some tests with the lowest supported version of every dependency"
	@echo "make test-extras"
	@echo "               install the wheel with PyTorch, JAX, NIR, FLINT, MPI and Dask, and run the tests that need them"
	@echo "make test-wheel"
	@echo "               build the wheel, install it, and try it outside this folder"
	@echo "make lint      check style and types"
	@echo "make docs      build the site into site/"
	@echo "make bench     check results, then measure speed"
	@echo "make validate  test the claims of docs/validation.md; takes hours, resumes if run again"
	@echo "make gpu-report"
	@echo "               measure the grid engine, on a GPU if there is one; writes docs/grid_report.md"
	@echo "make clean     remove .venv, builds, the site and caches, but not runs/"

demo: $(INSTALLED)
	$(BIN)/evsim train yin-yang --hidden 30 --delays --time-limit 110 --out runs/demo --replace

test: $(INSTALLED_DEV)
	$(BIN)/$(PYTEST)
	@echo "left out: the tests that need PyTorch, JAX, NIR, FLINT, MPI, Dask or other libraries; make test-extras runs them"

test-fast: $(INSTALLED_DEV)
	$(BIN)/$(PYTEST) -m "not slow"

# Old versions may warn of what newer ones of yet others have renamed.
test-lowest: $(INSTALLED_UV)
	$(UV) venv --clear --python $(BIN)/python $(LOWEST)
	$(UV) pip install --python $(LOWEST) --resolution lowest-direct --editable ".[dev]"
	NUMBA_CACHE_DIR=$(LOWEST)/numba $(LOWEST)/bin/$(PYTEST) -m "not slow" \
	    -W ignore::DeprecationWarning $(LOWEST_TESTS)

# In a folder outside the checkout, so that the installed evsim is tested.  Its loops are the same as
# those of the checkout: what is compiled there is copied, so that it need not be compiled again.
test-extras: wheel
	rm -rf $(EXTRAS)
	$(PYTHON) -m venv $(EXTRAS)
	$(EXTRAS)/bin/pip install --quiet --disable-pip-version-check \
	    $(addprefix --index-url ,$(TORCH_INDEX)) "$(TORCH)"
	$(UV) pip install --python $(EXTRAS)/bin/python \
	    "evsim[torch,jax,nir,certified,mpi,study,dev-extras] @ file://$$(echo $(WHEEL)/*.whl)"
	site=$$($(EXTRAS)/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))"); \
	find evsim -name "*.nbc" | tar -cf - -T - | tar -xf - -C "$$site"; \
	cd gpu && find evsim_gpu -name "*.nbc" | tar -cf - -T - | tar -xf - -C "$$site"
	cd $(EXTRAS) && bin/pytest -n $(PROCESSES) --dist worksteal -c $(CURDIR)/pyproject.toml \
	    --rootdir $(CURDIR) -o pythonpath="tests validation benchmarks" -p no:cacheprovider \
	    $(EXTRAS_TESTS)

wheel: $(INSTALLED_UV)
	rm -rf $(WHEEL)
	$(UV) build --wheel --out-dir $(WHEEL)

test-wheel: wheel
	$(UV) venv --python $(BIN)/python $(WHEEL)/installed
	$(UV) pip install --python $(WHEEL)/installed $(WHEEL)/*.whl
	cd $(WHEEL) && installed/bin/python -I $(CURDIR)/tests/installed_wheel.py *.whl

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

# The stamps are written last, so that an interrupted installation is repeated.
$(INSTALLED): pyproject.toml
	@command -v $(PYTHON) >/dev/null || \
	    { echo "$(PYTHON) not found: evsim needs Python 3.11 or newer, make PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("$(PYTHON) is Python " + \
	    sys.version.split()[0] + ": evsim needs 3.11 or newer, make PYTHON=...")'
	@echo "installing evsim and what it needs into $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --editable .
	@touch $@

$(INSTALLED_DEV): $(INSTALLED)
	@echo "installing what the tests need, some 1.1 GB"
	@$(PIP) --editable ".[dev]"
	@touch $@

$(INSTALLED_UV): $(INSTALLED)
	@$(PIP) uv
	@touch $@

$(INSTALLED_DOCS): $(INSTALLED)
	@$(PIP) --editable ".[docs]"
	@touch $@

# If a package cannot be installed, the claims that need it are reported as not examined.
$(INSTALLED_VALIDATION): $(INSTALLED_DEV)
	@$(PIP) --editable ".[validation]" && touch $@ || \
	    echo "some packages could not be installed: the claims that need them are not examined"
