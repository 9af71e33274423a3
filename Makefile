# What a fresh clone needs is python3 (3.11 or newer) and make; everything else goes into .venv.
#   make demo [ARGS="--seconds 60"]   make test [ARGS="-k name"]   make bench [NAME=kernels]   make kafka   make kafka-stop

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test bench kafka kafka-stop lint

FITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
  $$p -c '$(FITS)' 2>/dev/null && { command -v $$p; break; }; done)
BIN := .venv/bin
# What was installed last is named by a stamp; a new pyproject.toml installs again.
RUN := .venv/installed-run
DEV := .venv/installed-dev
PIP := $(BIN)/python -m pip --disable-pip-version-check
PROGRESS := sed -un -E 's/^((Collecting|Installing|Successfully).{0,100}).*/\1/p'
ARGS ?=
SIDE_BY_SIDE ?= -n 2 --dist loadfile --no-loadscope-reorder
NAME ?=

help:
	@sed -n '2,2s/^# *//p' Makefile; echo 'targets: setup demo test bench kafka kafka-stop lint'

setup: $(DEV)

.venv/pyvenv.cfg:
	@$(or $(PYTHON),false) -c '$(FITS)' || { echo "crossmargin needs Python 3.11 to 3.14, found" \
	  "$$($(or $(PYTHON),python3) --version 2>&1 | head -1); name one: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@echo "setting up .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv || { rm -rf .venv; \
	  echo "$(PYTHON) cannot make virtual environments: install its venv module (Debian: apt-get install python3-venv)" >&2; exit 2; }

$(RUN): pyproject.toml | .venv/pyvenv.cfg
	@echo "installing crossmargin and what it needs to run (about a minute, once)"
	@$(PIP) install --progress-bar off -e '.[parquet,embedded,web]' | $(PROGRESS)
	@rm -f $(DEV); touch $@

$(DEV): pyproject.toml | $(RUN)
	@echo "installing what the tests need"
	@$(PIP) install --progress-bar off -e '.[parquet,embedded,web,dev]' | $(PROGRESS)
	@touch $(RUN) $@

demo: $(RUN)
	@$(BIN)/crossmargin demo $(ARGS)

test: $(DEV)
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(ARGS)

bench: $(DEV)
	@$(BIN)/crossmargin bench $(NAME) $(ARGS)

kafka:
	@deploy/kafka/kafka.sh start

kafka-stop:
	@deploy/kafka/kafka.sh stop

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
