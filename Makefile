# One word for each job; CI uses the same words. `make help` lists them.

PORT ?= 8000
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# On few cores torch's threads and the server's fight: one thread makes small models faster.
export OMP_NUM_THREADS ?= $(if $(CI),1,)
ifeq ($(OMP_NUM_THREADS),)
unexport OMP_NUM_THREADS
endif

.DEFAULT_GOAL := help
.PHONY: help setup serve trace test test-gpu bench-gateway check format docs clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

setup: $(READY)  ## make .venv and install everything into it (once; minutes)

$(READY): pyproject.toml constraints-cpu.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Kvorum needs Python 3.11 or newer; try: make setup PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || { echo "Making $(VENV) ..."; $(PYTHON) -m venv $(VENV); }
	@echo "Installing Kvorum and its packages (about 1 GB on disk) ..."
	@$(BIN)/python infra/setup/install.py
	@touch $@

serve: $(READY)  ## serve the embedded model; PORT=8000
	@$(BIN)/kvorum serve --port $(PORT) $(ARGS)

trace: $(READY)  ## print each request's trace in this terminal
	@$(BIN)/python -m infra.trace $(ARGS)

# A process for each core, four at the most; a chosen part runs in this one, where pdb works.
IN_PARALLEL := $(if $(ARGS),,-n auto --maxprocesses 4 --dist worksteal)

test: $(READY)  ## run all tests that need no GPU; ARGS=tests/engine for a part
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q $(IN_PARALLEL) $(ARGS)

test-gpu: $(READY)  ## run the tests that need CUDA
	@$(BIN)/python -m pytest -q -m gpu tests/gpu $(ARGS)

bench-gateway: $(READY)  ## measure what a streamed token costs in the gateway (9 minutes); ARGS=--quick
	@$(BIN)/python -m tests.perf.gateway $(ARGS)

check: $(READY)  ## format, lint, types, import contracts, generated docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/codespell README.md CONTRIBUTING.md CHANGELOG.md docs service engine observability infra
	$(BIN)/python -m infra.docs --check

format: $(READY)  ## format and mend what ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY)  ## regenerate docs/settings.md, docs/metrics.md and the pictures
	$(BIN)/python -m infra.docs

clean:  ## remove caches and the environment
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
