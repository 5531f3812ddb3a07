# `make` verifies the paper; `make test` runs every test. Each makes its own virtual environment.
# constraints.txt pins the versions that the results in the README were made with.

PYTHON ?= python3
VENV   ?= .venv
OUT    ?= runs
BIN     = $(VENV)/bin

.DEFAULT_GOAL := verify
.PHONY: verify test lint figures bench clean

verify: $(VENV)/.theory
	$(BIN)/python -m theory --out $(OUT)/theory

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n auto

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

figures: $(VENV)/.theory
	$(BIN)/python -m figures --out $(OUT)/figures --runs $(OUT)/bert/pretrained

bench: $(VENV)/.dev
	$(BIN)/python -m tests.benchmarks

clean:
	rm -rf $(VENV) $(OUT)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.theory: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[theory]'
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@ $(VENV)/.theory
