# `make` verifies the paper; `make test` runs every test. Each makes its own virtual environment.
# constraints.txt pins the versions that the results in the README were made with.

PYTHON ?= python3
VENV   ?= .venv
OUT    ?= runs
BIN     = $(VENV)/bin

.DEFAULT_GOAL := verify
.PHONY: verify test lint figures bench smoke clean

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

# Everything of PoS-BERT once, on generated text. Such small models are slower on several threads.
smoke: export OMP_NUM_THREADS = 1
smoke: BERT = $(BIN)/python -m experiments bert
smoke: RUNS = $(OUT)/smoke/bert
smoke: $(VENV)/.experiments
	$(BERT) prepare --preset smoke --out $(RUNS)/prepared
	$(BERT) pretrain --preset smoke --data $(RUNS)/prepared --out $(RUNS)/pretrained
	$(BERT) finetune --preset smoke --model $(RUNS)/pretrained --out $(RUNS)/finetuned
	$(BERT) summary --pretrained $(RUNS)/pretrained --finetuned $(RUNS)/finetuned

bench: $(VENV)/.dev
	$(BIN)/python -m tests.benchmarks

clean:
	rm -rf $(VENV) $(OUT)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.theory: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[theory]'
	touch $@

$(VENV)/.experiments: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[experiments]'
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@ $(VENV)/.theory $(VENV)/.experiments
