# Everything a contributor does is one command; `make` lists them.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PORT ?= 8080
HEALTH_PORT ?= 8081

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Installing into $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[all]' --group test
	@touch $@

$(VENV)/.lint-installed: $(INSTALLED)
	@$(BIN)/pip install --quiet --disable-pip-version-check --group lint
	@touch $@

.PHONY: run
run: $(INSTALLED) ## Serve the example and play recorded events against it
	@STEADYBIT_EXTENSION_PORT=$(PORT) STEADYBIT_EXTENSION_HEALTH_PORT=$(HEALTH_PORT) \
		sh extensions/announce/demo.sh $(BIN)/extension-kit http://localhost:$(PORT)

.PHONY: test
test: $(INSTALLED) ## Run all tests this machine can run
	@$(BIN)/pytest $(ARGS)

.PHONY: lint
lint: $(VENV)/.lint-installed ## Check style, types and layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

.PHONY: format
format: $(VENV)/.lint-installed ## Format the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: openapi
openapi: $(INSTALLED) ## Write openapi/*.yaml anew
	@$(BIN)/python openapi/generate.py

.PHONY: settings
settings: $(INSTALLED) ## Write the settings table of the README anew
	@$(BIN)/python docs/write_settings.py

.PHONY: bench
bench: $(INSTALLED) ## Measure speed, as ratios (takes minutes)
	@$(BIN)/python -m benchmarks

.PHONY: clean
clean: ## Remove the virtual environment and caches
	@rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks
