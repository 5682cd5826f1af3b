# Everything from nothing: `make train` trains the demo, `make test` runs the suite.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.ready

# Threads that soon go to sleep: on a shared machine, spinning ones make small tensors ten times slower.
export GOMP_SPINCOUNT ?= 1000

.PHONY: setup train test lint check clean

setup: $(STAMP)

# torch first and alone: anything else that asks for it would bring gigabytes of CUDA.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[test,dev,plot]'
	$(BIN)/python -m pip install --quiet --no-deps openfold3==0.5.0
	touch $(STAMP)

train: setup
	$(BIN)/python scripts/train_af2.py --preset demo --data data

test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

check: lint test

clean:
	rm -rf .venv build *.egg-info
