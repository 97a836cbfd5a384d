# `make help` lists the targets.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet
LOCK_SUM := $(VENV)/requirements.sha256
export PATH := $(CURDIR)/$(BIN):$(PATH)
PORT ?= 5000

.DEFAULT_GOAL := help
.PHONY: help setup repro run test test-slow lint format bench lock ui clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 11

# An environment names its folder in every script: one that was moved or copied runs the other's code.
ifneq ($(shell cat $(VENV)/installed 2>/dev/null),$(CURDIR))
$(shell rm -f $(VENV)/installed)
endif

setup: $(VENV)/installed ## make .venv from requirements.lock

# An environment that is there is brought up to date in place: a `dvc repro` may run in it, and what the
# user installed beside would be lost. The lock counts by its content, as git makes files newer that
# it leaves the same. The mark is set last, so a set-up that broke off is done again. The PATH without
# .venv: its own Python cannot make it anew.
$(VENV)/installed: requirements.lock pyproject.toml
	@if [ -e $@ ]; then exit; fi; \
	PATH="$${PATH#$(CURDIR)/$(BIN):}"; python=; for name in $(PYTHON) python3.12 python3.11 python3; do \
	  if "$$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; \
	  then python=$$name; break; fi; done; \
	if [ -z "$$python" ]; then \
	  echo "databoost needs Python 3.11 or 3.12 (Annoy crashes on newer ones); name one with PYTHON=..." >&2; exit 1; fi; \
	rm -rf $(VENV); \
	if ! $$python -m venv $(VENV); then rm -rf $(VENV); \
	  echo "no virtual environment could be made; on Debian or Ubuntu: apt install python3-venv python3-dev" >&2; exit 1; fi; \
	if ! $(BIN)/python -c 'import sysconfig, pathlib, sys; sys.exit(not (pathlib.Path(sysconfig.get_path("include")) / "Python.h").exists())'; then \
	  rm -rf $(VENV); echo "Python.h is missing, Annoy is compiled with it; on Debian or Ubuntu: apt install python3-dev" >&2; exit 1; fi
	@if ! sha256sum --check --status $(LOCK_SUM) 2>/dev/null; then rm -f $(LOCK_SUM); \
	  echo "$(PIP) --require-hashes -r requirements.lock"; sum=$$(sha256sum requirements.lock); \
	  $(PIP) --require-hashes -r requirements.lock && echo "$$sum" > $(LOCK_SUM); fi
	$(if $(filter pyproject.toml,$?),$(PIP) --no-deps --no-build-isolation --editable .)
	@echo "$(CURDIR)" > $@

repro: setup ## dvc repro; DATA=<folder | archive | URL> takes the images from there
	$(if $(DATA),databoost source "$(DATA)")
	dvc repro
	-databoost publish
	databoost rounds

run: setup ## round after round until the stop rule holds
	databoost run

PYTEST := OMP_NUM_THREADS=1 python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test: setup ## the test suite, without its slow tests
	$(PYTEST) -m "not slow"

test-slow: setup ## the slow tests: whole pipelines, kills, clusters, studies
	$(PYTEST) -m slow

lint: setup ## ruff and mypy --strict
	ruff check .
	ruff format --check .
	mypy

format: setup ## let ruff format and sort
	ruff check --fix .
	ruff format .

bench: setup ## most of what the README says of speed, measured here, in ten to sixteen minutes
	python benchmarks/training_loop.py --repetitions 5 --epochs 1
	python benchmarks/keras_speed.py --repetitions 3 --epochs 2
	python benchmarks/candidates.py rendering
	python benchmarks/candidates.py curve --counts 10000 100000
	python benchmarks/candidates.py curve --counts 10000 100000 --engine ray
	rm -f reports/search.csv
	python benchmarks/search.py --sizes 10000 100000 --dimensions 256 --trees 10

ui: setup ## the MLflow page on http://127.0.0.1:5000 (PORT=...)
	@echo "open http://127.0.0.1:$(PORT)/#/experiments/1/runs?workflowType=machine_learning"
	MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow server --workers 1 \
	  --host 127.0.0.1 --port $(PORT) --backend-store-uri sqlite:///mlflow.db --artifacts-destination mlartifacts

lock: ## pin every dependency again (needs uv)
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-header --no-annotate -c constraints.txt -o requirements.lock --upgrade

clean: ## remove .venv and caches; data and MLflow's store stay
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache
