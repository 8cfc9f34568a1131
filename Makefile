# `make quickstart` and `make test` are all that a fresh machine needs: Python >= 3.11 with venv, and a package index.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
TORCH := torch==2.13.0
export HF_HUB_DISABLE_TELEMETRY = 1
export TOKENIZERS_PARALLELISM = false

.PHONY: help setup quickstart test test-fast test-distributed lint format docs docs-serve build bench study audit soak clean

help:
	@echo "make quickstart   train the embedded model with DiFFPO, print the gain, draw it (about three minutes, no GPU)"
	@echo "make test         run the tests"
	@echo "make test-distributed   run those that take several processes, or a minute"
	@echo "make test-fast    run the tests that take seconds"
	@echo "make lint         check style and types"
	@echo "make docs         build the site into build/docs; what is broken in it fails"
	@echo "make docs-serve   the same on http://127.0.0.1:8000, following changes"
	@echo "make bench        measure rollouts and updates against plain implementations"
	@echo "make study        train every method and ablation on the embedded models, and compare (hours; goes on where it was)"
	@echo "make soak         train for an hour while things go wrong"
	@echo "make audit        look for known vulnerabilities in what is installed (needs the network)"
	@echo "make build        build and check the wheel and the sdist"
	@echo "make clean        remove what the others made"

setup: $(VENV)/.complete

# PyTorch first: without a GPU, a plain `pip install torch` on Linux would pull gigabytes of CUDA. A `+cpu` build is taken
# from the configured package index if it has one, else from PyTorch's own.
$(VENV)/.complete: setup.cfg pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python >= 3.11 is needed, $(PYTHON) is older. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@if $(BIN)/python -c 'import importlib.metadata as m; m.version("torch")' 2>/dev/null; then \
		echo "torch is installed already"; \
	elif [ "$$(uname -s)" != Linux ] || nvidia-smi -L >/dev/null 2>&1; then \
		$(BIN)/python -m pip install --quiet $(TORCH); \
	else \
		$(BIN)/python -m pip install --quiet $(TORCH)+cpu 2>/dev/null || \
		$(BIN)/python -m pip install --quiet $(TORCH) --index-url https://download.pytorch.org/whl/cpu; \
	fi
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	@touch $@

$(VENV)/.docs-complete: $(VENV)/.complete
	$(BIN)/python -m pip install --quiet --editable ".[docs]"
	@touch $@

quickstart: setup
	$(BIN)/python -m trl_diffusion.scripts.quickstart $(ARGS)

# No test needs the network; these make sure of it.
test test-fast test-distributed: export HF_HUB_OFFLINE = 1
test test-fast test-distributed: export CI = 1
test: setup
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not distributed"

test-distributed: setup
	$(BIN)/python -m pytest -n auto --dist worksteal -m distributed

test-fast: setup
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Material for MkDocs says at each build what will come after it.
docs docs-serve: export NO_MKDOCS_2_WARNING = 1
docs: $(VENV)/.docs-complete
	$(BIN)/python -m mkdocs build --strict

docs-serve: $(VENV)/.docs-complete
	$(BIN)/python -m mkdocs serve

build: setup
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

bench: setup
	$(BIN)/python benchmarks/speed.py --output speed.json --picture speed.png

study: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.study run $(ARGS)

soak: setup
	$(BIN)/python -m tests.soak --output soak.json

# In an environment of its own, so that its dependencies are not among those that it looks at.
audit: setup
	$(PYTHON) -m venv $(VENV)-audit
	$(VENV)-audit/bin/python -m pip install --quiet pip-audit
	$(VENV)-audit/bin/pip-audit --path $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')

clean:
	rm -rf $(VENV) $(VENV)-audit build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
