# make train: installs into .venv and pretrains the tiny model.   make test: installs and tests.
# make check: what a change must pass before it is proposed, lint and the fast tests.
# Options go into ARGS:  make train ARGS="trainer.max_steps=100"   make test ARGS=tests/model

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
WORKERS ?= 2
INSTALL = $(VENV)/bin/python -m pip install --quiet --constraint constraints.txt
PYTEST = $(VENV)/bin/python -m pytest --numprocesses=$(WORKERS) --dist=worksteal

.PHONY: train test check lint docs

train: $(VENV)/.installed
	$(VENV)/bin/python train.py model=tiny $(ARGS)

test: $(VENV)/.installed-dev
	$(PYTEST) $(ARGS)

check: lint
	$(PYTEST) -m "not slow" $(ARGS)

lint: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build --strict

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) --editable .
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) --editable ".[dev]"
	touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) --editable ".[docs]"
	touch $@
