# Everything a contributor does is one command; `make` lists them.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PORT ?= 8080
HEALTH_PORT ?= 8081
EVENT_LOG_PORT ?= 8082

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

# A client whose dependencies do not go together with those of the other tests.
$(VENV)/.tapipy-installed: $(INSTALLED)
	@$(BIN)/python -m venv $(VENV)/tapipy
	@$(VENV)/tapipy/bin/pip install --quiet --disable-pip-version-check 'tapipy>=25.4,<26'
	@touch $@

# Tests of pages, which are left out without it; Chromium itself comes from the system.
$(VENV)/.browser-installed: $(INSTALLED)
	@$(BIN)/pip install --quiet --disable-pip-version-check --group browser
	@touch $@

.PHONY: browser
browser: $(VENV)/.browser-installed ## Install what the tests of pages need beside Chromium

# What `make run` and `make demo` do: the folder in extensions/, and the words to say again with other ports.
define demonstrate
@STEADYBIT_EXTENSION_PORT=$(PORT) STEADYBIT_EXTENSION_HEALTH_PORT=$(HEALTH_PORT) EXTENSION_EVENT_LOG_PORT=$(EVENT_LOG_PORT) \
	sh extensions/$(1)/demo.sh $(BIN)/extension-kit || { code=$$?; \
	[ $$code -ne 2 ] || echo "Other ports: make $(2) PORT=9000 HEALTH_PORT=9001 EVENT_LOG_PORT=9002" >&2; exit $$code; }
endef

.PHONY: run
run: $(INSTALLED) ## Serve two examples, play recorded events, replay a dead letter (PORT=8080 HEALTH_PORT=8081 EVENT_LOG_PORT=8082)
	$(call demonstrate,announce,run)

DEMONSTRATED := $(sort $(patsubst extensions/%/demo.sh,%,$(wildcard extensions/*/demo.sh)))

.PHONY: demo-exists
demo-exists:
	$(if $(filter $(EXTENSION),$(DEMONSTRATED)),,$(error make demo EXTENSION=... shows one of: $(DEMONSTRATED)))

.PHONY: demo
demo: demo-exists $(INSTALLED) ## Show a ready-made extension at work: EXTENSION=announce (and the ports of `make run`)
	$(call demonstrate,$(EXTENSION),demo EXTENSION=$(EXTENSION))

.PHONY: test
test: $(INSTALLED) $(VENV)/.tapipy-installed ## Run all tests this machine can run
	@# Hundreds of processes import the same modules, which must not be compiled each time, as in many containers.
	@PYTHONDONTWRITEBYTECODE= $(BIN)/pytest --numprocesses 4 --dist worksteal $(ARGS)

.PHONY: soak
soak: $(INSTALLED) ## Test durability for SOAK_SECONDS=300 and KILL_ROUNDS=1000 (takes hours)
	@PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -m soak --capture=no $(ARGS)

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
	@$(BIN)/python tools/write_openapi.py

.PHONY: settings
settings: $(INSTALLED) ## Write the settings tables of docs/reference/settings.md and the READMEs anew
	@$(BIN)/python tools/write_settings.py

.PHONY: reference
reference: $(INSTALLED) ## Write docs/reference/event.md and commands.md anew
	@$(BIN)/python tools/write_reference.py

.PHONY: values
values: $(INSTALLED) ## Write the table of values in the chart's README anew
	@$(BIN)/python tools/write_values.py

.PHONY: architecture
architecture: $(INSTALLED) ## Write docs/architecture.md, the table of contents of the code, anew
	@$(BIN)/python tools/write_architecture.py

$(VENV)/.docs-installed: $(INSTALLED)
	@$(BIN)/pip install --quiet --disable-pip-version-check --group docs
	@touch $@

SPHINX := $(BIN)/sphinx-build --quiet --nitpicky --fail-on-warning --keep-going --doctree-dir build/docs/.doctrees --conf-dir docs

.PHONY: docs
docs: $(VENV)/.docs-installed ## Build the documentation site in build/docs, with warnings as errors
	@$(SPHINX) --builder html . build/docs
	@echo "The site is in build/docs/index.html."

.PHONY: links
links: $(VENV)/.docs-installed ## Check the links of the documentation to other sites
	@$(SPHINX) --builder linkcheck . build/docs/.links

.PHONY: snapshots
snapshots: $(INSTALLED) ## Write what the chart renders anew, to be looked at before it is committed
	@$(BIN)/python -m tests.helm.snapshots

.PHONY: screenshots
screenshots: $(VENV)/.browser-installed ## Take the pictures of the event log in docs/images anew, to be looked at
	@$(BIN)/python -m tests.browser.screenshots

LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --upgrade \
	--custom-compile-command 'make lock'

.PHONY: lock
lock: $(INSTALLED) ## Choose the versions of what is in the image anew
	@$(BIN)/pip install --quiet --disable-pip-version-check 'uv>=0.13,<0.14'
	@$(LOCK) pyproject.toml --extra image --output-file requirements.lock
	@$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"])' \
		| tr ' ' '\n' | $(LOCK) - --output-file requirements-build.lock

$(VENV)/.dist-installed: $(INSTALLED)
	@$(BIN)/pip install --quiet --disable-pip-version-check --group dist
	@touch $@

.PHONY: dist
dist: $(VENV)/.dist-installed ## Build the kit and its client for APScheduler in dist/, and try them in environments of their own
	@rm -rf dist
	@$(BIN)/python -m build --outdir dist . > /dev/null
	@$(BIN)/python -m build --outdir dist clients/apscheduler > /dev/null
	@$(BIN)/twine check --strict dist/*
	@$(BIN)/python tools/try_distributions.py dist

IMAGE ?= extension-kit
VERSION ?= $(shell sed -n 's/^version = "\(.*\)"$$/\1/p' pyproject.toml)
REVISION ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)

.PHONY: image
image: ## Build the image (IMAGE=extension-kit VERSION= REVISION=); with PUSH=1 for two architectures, attested, and push it
	@if [ -n "$(PUSH)" ]; then \
		docker buildx create --name extension-kit --driver docker-container --use 2>/dev/null || docker buildx use extension-kit; \
		docker run --rm --privileged tonistiigi/binfmt --install arm64 >/dev/null; \
		docker buildx build --platform linux/amd64,linux/arm64 --sbom=true --provenance=mode=max --push \
			--build-arg VERSION="$(VERSION)" --build-arg REVISION="$(REVISION)" --tag "$(IMAGE):$(VERSION)" .; \
	else \
		docker build --build-arg VERSION="$(VERSION)" --build-arg REVISION="$(REVISION)" --tag "$(IMAGE):$(VERSION)" .; \
	fi

.PHONY: workflows
workflows: $(INSTALLED) ## Check .github/workflows for mistakes and for ways in (zizmor)
	@$(BIN)/pip install --quiet --disable-pip-version-check 'zizmor>=1.30,<2'
	@$(BIN)/zizmor --offline --quiet .github

.PHONY: bench
bench: $(INSTALLED) ## Measure speed, as ratios (takes minutes)
	@$(BIN)/python -m benchmarks

.PHONY: clean
clean: ## Remove the virtual environment and caches
	@rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks
