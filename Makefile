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
	$(BIN)/python -m figures --out $(OUT)/figures --runs $(OUT)

# Both studies once, on generated text and rendered scenes. Small models are slower on several threads.
smoke: export OMP_NUM_THREADS = 1
smoke: BERT = $(BIN)/python -m experiments bert
smoke: MAE = $(BIN)/python -m experiments mae
smoke: TEXT = $(OUT)/smoke/bert
smoke: SCENES = $(OUT)/smoke/mae
smoke: $(VENV)/.experiments
	$(BERT) prepare --preset smoke --out $(TEXT)/prepared
	$(BERT) pretrain --preset smoke --data $(TEXT)/prepared --out $(TEXT)/pretrained
	$(BERT) finetune --preset smoke --model $(TEXT)/pretrained --out $(TEXT)/finetuned
	$(BERT) summary --pretrained $(TEXT)/pretrained --finetuned $(TEXT)/finetuned
	$(MAE) prepare --preset smoke --out $(SCENES)/prepared
	$(MAE) pretrain --preset smoke --data $(SCENES)/prepared --out $(SCENES)/pretrained
	$(MAE) finetune --preset smoke --task cls semseg depth --data $(SCENES)/prepared \
		--model $(SCENES)/pretrained --out $(SCENES)/finetuned
	$(MAE) summary --pretrained $(SCENES)/pretrained --finetuned $(SCENES)/finetuned

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
