# `make demo` and `make test` work on a clean clone: each makes what it needs.
PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2

BIN := $(VENV)/bin
# Byte code is compiled on first import instead of for every file of every package: minutes less.
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --no-compile --quiet --constraint constraints.txt
CORE := $(VENV)/.installed-core
TEST := $(VENV)/.installed-test
PEERS := .venv-peers
ENDPOINT := .venv-endpoint
MUTANTS := .venv-mutants

# The other half of that: the first import must be allowed to keep what it compiled.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install demo browser test test-slow test-peers test-endpoint test-mutants lint format bench clean
.DELETE_ON_ERROR:

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

install: $(TEST) ## make .venv with everything that development needs

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "maporl needs Python 3.11 or newer, and this is " + sys.version.split()[0] + ".\nFix: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(CORE): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing maporl into $(VENV) (the downloads are large; once only) …"
	$(PIP_INSTALL) --editable .
	@touch $@

# Installing the tests' packages installs the core with them, so one pip run serves both.
$(TEST): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing maporl and its test tools into $(VENV) (the downloads are large; once only) …"
	$(PIP_INSTALL) --editable '.[test,sagemaker]'
	@touch $(CORE) $@

demo: $(CORE) ## train the four-agent team on the built-in benchmark (about 4 minutes)
	$(BIN)/maporl train --preset clinic --name demo --overwrite

browser: ## install Debian's Chromium where it is missing, so that tests can look at the pages (as root)
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; } || \
		{ echo "make browser needs root and apt-get. Fix: install Chromium by other means" >&2; exit 1; }
	@command -v chromium >/dev/null || { apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; }

test: $(TEST) ## the tests that every change must pass
	$(BIN)/python -m pytest -m "not slow" -n $(WORKERS) --dist loadfile --no-loadscope-reorder -q

test-slow: $(TEST) ## runs and ranks killed, a host lost, a real model pulled (about 20 minutes)
	$(BIN)/python -m pytest -m slow -q

$(PEERS)/.installed: tests/peers/requirements.txt pyproject.toml constraints.txt
	$(PYTHON) -m venv $(PEERS)
	@echo "installing maporl and the libraries that it is compared with into $(PEERS) (once only) …"
	$(PEERS)/bin/python -m pip install --disable-pip-version-check --no-compile --quiet \
		--constraint constraints.txt --requirement tests/peers/requirements.txt
	@touch $@

test-peers: $(PEERS)/.installed ## our loss and answers against TRL's and lm-evaluation-harness's (about 40 minutes)
	$(PEERS)/bin/python -m pytest tests/peers -q

# Hugging Face's toolkit comes without its requirements: its audio decoders want an older numpy than all else.
$(ENDPOINT)/.installed: tests/endpoint/requirements.txt pyproject.toml constraints.txt
	$(PYTHON) -m venv $(ENDPOINT)
	@echo "installing maporl and the model server of SageMaker's inference images into $(ENDPOINT) (once only) …"
	$(ENDPOINT)/bin/python -m pip install --disable-pip-version-check --no-compile --quiet \
		--constraint constraints.txt --requirement tests/endpoint/requirements.txt
	$(ENDPOINT)/bin/python -m pip install --disable-pip-version-check --no-compile --quiet \
		--no-deps sagemaker-huggingface-inference-toolkit==2.6.0
	@touch $@

test-endpoint: $(ENDPOINT)/.installed ## the handler inside SageMaker's own model server (needs Java; 5 minutes)
	@command -v java >/dev/null || { echo "the model server needs Java. Fix: install Java 17" >&2; exit 1; }
	$(ENDPOINT)/bin/python -m pytest tests/endpoint -q

$(MUTANTS)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(MUTANTS)
	@echo "installing maporl, its test tools and mutmut into $(MUTANTS) (once only) …"
	$(MUTANTS)/bin/python -m pip install --disable-pip-version-check --no-compile --quiet \
		--constraint constraints.txt --editable '.[test,mutants]'
	@touch $@

test-mutants: $(MUTANTS)/.installed ## which planted faults in loss, credit and advantage go unnoticed? (10 minutes)
	OMP_NUM_THREADS=1 $(MUTANTS)/bin/mutmut run --max-children $(WORKERS)
	$(MUTANTS)/bin/mutmut results

lint: $(TEST) ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

format: $(TEST) ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(TEST) ## does the team learn, does each agent matter, how long do ranks wait? (about 80 minutes)
	$(BIN)/python benchmarks/clinic_learning.py --jobs $(WORKERS)
	$(BIN)/python benchmarks/clinic_ablations.py --jobs $(WORKERS)
	$(BIN)/python benchmarks/schedule.py
	$(BIN)/python benchmarks/forecast.py

clean: ## remove the environments and the caches; runs stay
	rm -rf $(VENV) $(PEERS) $(ENDPOINT) $(MUTANTS) mutants .pytest_cache .ruff_cache .hypothesis .import_linter_cache build *.egg-info
