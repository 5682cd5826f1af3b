# Everything from nothing: `make train` trains the demo, `make test` runs the suite.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.ready
FOREIGN := .venv-foreign

# Threads that soon go to sleep: on a shared machine, spinning ones make small tensors ten times slower.
export GOMP_SPINCOUNT ?= 1000

.PHONY: setup train test lint check clean foreign test-foreign

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

foreign: $(FOREIGN)/.ready

# Other people's models: beside everything that .venv has, and without what they pin of it.
$(FOREIGN)/.ready: $(STAMP) requirements-foreign.txt
	$(PYTHON) -m venv --clear $(FOREIGN)
	echo "import site; site.addsitedir('$$($(BIN)/python -c 'import site; print(site.getsitepackages()[0])')')" \
		> $$($(FOREIGN)/bin/python -c 'import site; print(site.getsitepackages()[0])')/beside.pth
	$(FOREIGN)/bin/python -m pip install --quiet --no-deps -r requirements-foreign.txt
	touch $@

test-foreign: foreign
	$(FOREIGN)/bin/python -m pytest tests/models tests/benchmarks/test_foreign.py

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

check: lint test test-foreign

clean:
	rm -rf .venv $(FOREIGN) build *.egg-info
