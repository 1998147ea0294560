# Skerry: `make` alone shows what there is. Every target does its own setting up.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
INSTALL := os/build-machine/install
CHECK_PACKAGES := os/build-machine/check.packages
DEMO_PACKAGES := $(CHECK_PACKAGES) os/build-machine/demo.packages
TEST_PACKAGES := $(DEMO_PACKAGES) os/build-machine/test.packages
BENCH_PACKAGES := $(TEST_PACKAGES) os/build-machine/bench.packages
RECIPE := os/images/skerry.toml
SOURCES := src tests bench
CACHE := $(or $(SKERRY_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/skerry)
BENCHES := $(filter-out bench/harness.py,$(sort $(wildcard bench/*.py)))
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo demo-cluster demo-update image test campaign campaign-cluster check bench clean lock lint check-packages demo-packages test-packages bench-packages

help: ## Show this.
	@echo "Skerry: a small, immutable Debian host for containers. Start with: make demo"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: demo-packages $(STAMP) ## Compose the image, boot it in a virtual machine, run containers on it.
	@$(BIN)/skerry demo

demo-update: demo-packages $(STAMP) ## Show an update of a machine, and the way back from one that fails.
	@$(BIN)/skerry demo update

demo-cluster: demo-packages $(STAMP) ## Show three machines become a cluster, and the units of a lost one move.
	@$(BIN)/skerry demo cluster

image: demo-packages $(STAMP) ## Compose the image of the operating system; what did not change is reused.
	@$(BIN)/skerry image build $(RECIPE)

test: test-packages lint image ## Check and test everything, up to virtual machines that boot the image.
	@$(BIN)/python -m pytest -n 2 --dist loadgroup -o timeout=600 $(TESTS)

campaign: test-packages image ## Cut the power of an upgrade at some 20,000 moments; figures go to build/campaign.json.
	@SKERRY_CUTS=$(or $(CUTS),20000) SKERRY_CUT_BOOTS=12 SKERRY_CAMPAIGN_TIMEOUT_S=14400 \
	    $(BIN)/python -m pytest tests/campaign
	@cat build/campaign.json

campaign-cluster: test-packages image ## Fail the power, network and clocks of three virtual machines that are a cluster; a quarter of an hour.
	@SKERRY_MACHINES=1 $(BIN)/python -m pytest -s tests/campaign/test_machines.py
	@cat build/campaign-cluster.json

check: lint ## Check style, types, and that imports point down, in seconds.
	@$(BIN)/python -m pytest -q tests/unit/test_layers.py

bench: bench-packages image ## Measure, each against a peer in the same run; results go to build/bench.
	@set -e; for bench in $(BENCHES); do $(BIN)/python $$bench; done

clean: ## Stop the lab, and remove all that was built.
	@if [ -x $(BIN)/skerry ]; then $(BIN)/skerry lab down --all; fi
	@rm -rf $(CACHE) 2>/dev/null || unshare --user --map-root-user --map-auto rm -rf $(CACHE)
	@rm -rf build dist $(VENV) .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find $(SOURCES) -type d -name __pycache__ -prune -exec rm -rf {} +

lock: ## Pin the requirements anew, after a change of pyproject.toml; needs uv.
	@uv pip compile --quiet --universal --python-version 3.11 --extra dev --generate-hashes \
	    --no-emit-index-url --no-emit-find-links --no-annotate --no-header \
	    --output-file requirements.lock pyproject.toml >/dev/null

lint: $(STAMP)
	@$(BIN)/ruff check --quiet --output-format concise $(SOURCES)
	@$(BIN)/ruff format --quiet --check $(SOURCES) \
	    || { echo "hint: $(BIN)/ruff format $(SOURCES)" >&2; exit 1; }
	@$(BIN)/mypy --no-error-summary

# PACKAGES=skip leaves this machine's packages to you.
ifeq ($(PACKAGES),skip)
INSTALL := :
endif

check-packages:
	@$(INSTALL) $(CHECK_PACKAGES)

demo-packages:
	@$(INSTALL) $(DEMO_PACKAGES)

test-packages:
	@$(INSTALL) $(TEST_PACKAGES)

bench-packages:
	@$(INSTALL) $(BENCH_PACKAGES)

# The environment of our code: what requirements.lock names, by hash, and the checkout itself.
# Where packages come from is up to pip's own settings on this machine.
$(STAMP): requirements.lock pyproject.toml | check-packages
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "error: $(PYTHON) is older than 3.11; name a newer one: make PYTHON=python3.13" >&2; exit 1; }
	@echo "Setting up $(VENV) for $$($(PYTHON) --version)" >&2
	@[ -x $(BIN)/pip ] && $(BIN)/python -c '' 2>/dev/null || { rm -rf $(VENV) && $(PYTHON) -m venv $(VENV); }
	@$(BIN)/pip install --quiet --no-input --require-hashes --requirement requirements.lock
	@$(BIN)/pip install --quiet --no-input --no-deps --no-build-isolation --editable .
	@touch $@
