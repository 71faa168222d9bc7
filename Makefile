# The commands of the project. `make` alone lists them; every one prepares .venv first where it must.

ARGS ?=
TEST_JOBS ?= 2
PYTHON_ENV := .venv/bin
STAMP := .venv/.installed
# One thread a process: the test processes share the cores among themselves, and take the files in the order of
# tests/conftest.py.
TESTS := OMP_NUM_THREADS=1 $(PYTHON_ENV)/python -m pytest -n $(TEST_JOBS) --dist loadfile --no-loadscope-reorder

.PHONY: help install demo serve notebooks test check format proofs lock
.DEFAULT_GOAL := help

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' Makefile

install: $(STAMP) ## prepare .venv from requirements.lock, and say what the system lacks

$(STAMP): requirements.lock pyproject.toml .ci/install $(wildcard features/*.p[xy][dx] serving/*.p[xy][xi])
	@sh .ci/install
	@touch $@

demo: $(STAMP) ## simulate a CRM, train, promote and serve; options in ARGS, such as ARGS=--no-serve
	@$(PYTHON_ENV)/leadscore demo $(ARGS)

serve: $(STAMP) ## serve the champion of the home; options in ARGS, such as ARGS="--port 3000"
	@$(PYTHON_ENV)/leadscore serve $(ARGS)

notebooks: $(STAMP) ## open Jupyter on the notebooks; options in ARGS, such as ARGS=--no-browser
	@$(PYTHON_ENV)/jupyter lab --notebook-dir=notebooks notebooks/01_retrain.ipynb $(ARGS)

test: $(STAMP) ## run the tests; options for pytest in ARGS
	$(TESTS) --session-timeout=1800 $(ARGS)

check: $(STAMP) ## lint, format and types
	$(PYTHON_ENV)/python -m ruff check .
	$(PYTHON_ENV)/python -m ruff format --check .
	$(PYTHON_ENV)/python -m mypy

format: $(STAMP) ## format the code and mend what the linter can
	$(PYTHON_ENV)/python -m ruff check --fix .
	$(PYTHON_ENV)/python -m ruff format .

proofs: $(STAMP) ## the long proofs, of which `make test` runs a part, and the mutations
	LEADSCORE_PROOFS=1 $(TESTS) --timeout=3600 $(ARGS)
	$(PYTHON_ENV)/python -m tests.mutations

lock: ## pin the dependencies of pyproject.toml anew; ARGS=--upgrade takes newer versions
	@sh .ci/lock $(ARGS)
