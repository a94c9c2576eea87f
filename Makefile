# make run       makes a virtual environment, installs the project into it and runs its demonstration
# make test      does the same with what the tests need, and runs the quick ones, on up to four cores
# make test-all  runs all tests
# make lint      checks style and types

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
# A new pyproject.toml is installed anew; an unchanged one costs nothing.
KEY := $(shell $(PYTHON) -c "import hashlib; print(hashlib.sha256(open('pyproject.toml', 'rb').read()).hexdigest()[:16])")
ARGS ?=

.PHONY: run test test-all lint
.DELETE_ON_ERROR:

run: $(VENV)/.installed-run-$(KEY)
	$(BIN)/autotransfer demo $(ARGS)

test: $(VENV)/.installed-test-$(KEY)
	$(BIN)/python -m pytest -n logical --maxprocesses 4 -m "not slow" $(ARGS)

test-all: $(VENV)/.installed-test-$(KEY)
	$(BIN)/python -m pytest -n logical --maxprocesses 4 $(ARGS)

lint: $(VENV)/.installed-dev-$(KEY)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

$(VENV)/.installed-%-$(KEY):
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".$(if $(filter-out run,$*),[$*])"
	touch $@
