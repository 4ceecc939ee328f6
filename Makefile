# make demo   see every task: text and pictures
# make test   ruff, mypy, pytest
# Both set up .venv on their own. Another Python: make PYTHON=python3.12 demo

PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo
PARALLEL ?= --numprocesses 2 --dist loadfile
BIN = $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
TENSORRT_RTX = tensorrt_rtx_cu13_libs==1.7.1.116 tensorrt_rtx_cu13_bindings==1.7.1.116
SETUP_FILES = constraints.txt pyproject.toml runtime/pyproject.toml

.PHONY: demo test test-all lint clean

demo: $(VENV)/.demo
	$(BIN)/python -m perceiver_deploy.demo $(DEMO)

test: lint
	$(BIN)/python -m pytest -m "not long" $(PARALLEL)

test-all: lint
	$(BIN)/python -m pytest $(PARALLEL)

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/.python:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.demo: $(VENV)/.python $(SETUP_FILES)
	$(INSTALL) --editable "./runtime[cpu,images]" --editable ".[photographs]"
	touch $@

$(VENV)/.test: $(VENV)/.python $(SETUP_FILES)
	$(INSTALL) --editable "./runtime[cpu,images]" --editable ".[test]"
	-$(INSTALL) --no-deps $(TENSORRT_RTX)  # builds engines without a GPU; x86-64 only, its tests are skipped without it
	touch $@

clean:
	rm -rf $(VENV) $(DEMO)
