# The two commands of the README are `make demo` and `make test`; the others are parts of them.
PYTHON ?= python3
VENV ?= .venv
EXECUTOR ?=
BIN = $(VENV)/bin
# how many tests run at the same time
WORKERS ?= 4

.PHONY: help demo test lint types unit integration integration-here integration-slurm \
  third-party clients bench clean

help:
	@echo "make demo [EXECUTOR=local|slurm]  run an ensemble of 120 jobs and draw its result"
	@echo "make test                         check style and types, run all tests"
	@echo "make lint|types|unit|integration|third-party|clients   parts of make test"
	@echo "make bench [EXECUTOR=local|slurm] measure against psij-python"
	@echo "make clean                        remove what the above have made"

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "make: $(PYTHON) is older than 3.10; say which to use: make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "make: $(PYTHON) cannot make virtual environments (on Debian: apt install python3-venv)"; exit 1; }
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.developed: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[dev,dask,mpi,parsl,radical]'
	@touch $@

demo: $(VENV)/.installed
	$(BIN)/python examples/ising/ensemble.py $(if $(EXECUTOR),--executor $(EXECUTOR))

test: lint types unit integration third-party clients

lint: $(VENV)/.developed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: $(VENV)/.developed
	$(BIN)/mypy

unit: $(VENV)/.developed
	$(BIN)/pytest -n $(WORKERS) tests/unit

# Those of Slurm mostly wait for it, and so go side by side with the others. Those of Grid Engine
# are many short jobs, and need the machine.
integration: $(VENV)/.developed
	$(MAKE) --jobs 2 --output-sync=target integration-here integration-slurm

integration-here: $(VENV)/.developed
	$(BIN)/pytest -n $(WORKERS) tests/integration/local tests/integration/tasks \
	  tests/integration/flow tests/integration/cli tests/docs
	$(BIN)/pytest -n 3 --dist loadfile tests/integration/engines
	$(BIN)/pytest -n 2 --dist loadfile tests/integration/grid_engine tests/integration/pbs \
	  tests/integration/flux tests/integration/oar tests/integration/htcondor

integration-slurm: $(VENV)/.developed
	$(BIN)/pytest -n 2 --dist loadfile tests/integration/slurm
	$(BIN)/pytest -n $(WORKERS) --dist loadfile tests/integration/ssh

# a scheduler in a distribution of its own
third-party: $(VENV)/.developed
	$(BIN)/python -m pip install --quiet --editable examples/task_spooler
	$(BIN)/pytest -c pyproject.toml -n $(WORKERS) examples/task_spooler/tests

# psij-python comes with the clients, from PyPI; the drop-in then takes its place
$(VENV)-clients/.installed: pyproject.toml compat/psij/pyproject.toml
	$(PYTHON) -m venv $(VENV)-clients
	$(VENV)-clients/bin/python -m pip install --quiet pytest redun-psij 'pydra<1'
	$(VENV)-clients/bin/python -m pip install --quiet --editable . --editable 'compat/psij[templates]'
	@touch $@

clients: $(VENV)-clients/.installed
	$(VENV)-clients/bin/pytest compat/psij/tests

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/psij.py $(if $(EXECUTOR),--executor $(EXECUTOR))

clean:
	rm -rf $(VENV) $(VENV)-clients demo-output build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
