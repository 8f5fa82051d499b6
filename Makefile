# Every target sets itself up: it needs Python 3.11 or later and make, nothing else.
#
#   make demo                     the comparison on the bundled digits
#   make test PYTHON=python3.13   the checks under another Python, in an environment of its own

PYTHON ?= python3
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
# One environment per Python version, so that changing PYTHON never mixes two of them.
VENV := .venv-$(VERSION)
RUN := $(VENV)/bin/python
# Test processes; 0 runs all tests in one.
WORKERS ?= 2
# How long `make fuzz` looks for mistakes.
MINUTES ?= 10
# The tests of a file stay in one process, which makes its fixtures once. Files come in the order of
# tests/conftest.py, not by their number of tests: few and long ones would be last, and run alone.
PYTEST := $(RUN) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-kills test-damage fuzz lint format tables bench-fleet \
    bench-compare bench-launch bench-latency bench-projection bench-text bench-images clean
# The steps of a target share its environment and come in order, also under `make -j`.
.NOTPARALLEL:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "PYTHON=$(PYTHON) (version $(or $(VERSION),not found)) makes the environment $(VENV)"

demo: $(VENV)/.installed ## teachers, students and the report on the bundled digits, in runs/digits
	$(RUN) -m lelp_jax.main --config=configs/digits.py

test: lint ## lint and all tests but the kill and damage rounds and random files
	$(PYTEST) -m "not kills and not damage and not fuzz"

test-fast: $(VENV)/.installed-dev ## the quick tests alone
	$(PYTEST) -m "not slow and not kills and not damage and not fuzz"

test-kills: $(VENV)/.installed-dev ## twenty rounds of killing a run and resuming it, fully compiled
	JAX_DISABLE_MOST_OPTIMIZATIONS=0 XLA_FLAGS= $(PYTEST) -m kills

test-damage: $(VENV)/.installed-dev ## every artifact of a run, damaged: the next launch mends it
	$(PYTEST) -m damage

fuzz: $(VENV)/.installed-dev ## random and damaged files for MINUTES=10; one example again with SEED=
	RUST_BACKTRACE=0 FUZZ_MINUTES=$(MINUTES) FUZZ_SEED=$(SEED) $(RUN) -m pytest -p no:logging -rP -m fuzz tests/fuzz

lint: $(VENV)/.installed-dev ## lint, format, types, dead and repeated code
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(RUN) -m vulture
	$(RUN) -m pylint lelp_jax benchmarks tests

format: $(VENV)/.installed-dev ## rewrite the sources in the project's format
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

tables: $(VENV)/.installed-dev ## rewrite the tables of the README that follow from the code
	$(RUN) -m tests.helpers.hyperparameter_table

bench-fleet: $(VENV)/.installed-bench ## time per student beside bare PyTorch and JAX loops
	$(RUN) -m benchmarks.fleet

bench-compare: $(VENV)/.installed-bench ## the whole comparison of methods, beside a bare PyTorch loop
	$(RUN) -m benchmarks.compare

bench-projection: $(VENV)/.installed-bench ## the projections beside scikit-learn and faiss
	$(RUN) -m benchmarks.projection

bench-text: $(VENV)/.installed-bench ## fine-tuning an encoder beside PyTorch
	$(RUN) -m benchmarks.text

bench-images: $(VENV)/.installed-bench ## convolutional networks beside PyTorch
	$(RUN) -m benchmarks.images

bench-latency: $(VENV)/.installed-bench ## size and latency of a teacher and of students
	$(RUN) -m benchmarks.latency

bench-launch: $(VENV)/.installed ## seconds to launch a run that is already finished
	$(RUN) -m benchmarks.launch

clean: ## remove environments and caches; runs/ stays
	rm -rf .venv-* build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -type d -name __pycache__ -not -path './runs/*' -prune -exec rm -rf {} +

# Installs the package with the extras named into the environment, which is made when it is not
# there or was left half made. The stamp is what make compares with pyproject.toml.
define install
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
    echo "error: lelp_jax needs Python 3.11 or later, but PYTHON=$(PYTHON) is" \
    "$(or $(VERSION),not found); try make $(firstword $(MAKECMDGOALS)) PYTHON=python3.11" >&2; exit 1; }
@$(RUN) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
@echo "installing lelp_jax$(1) into $(VENV)"
@$(RUN) -m pip install --quiet --disable-pip-version-check --editable ".$(1)"
@touch $(VENV)/.installed $@
endef

$(VENV)/.installed: pyproject.toml
	$(call install,)

$(VENV)/.installed-dev: pyproject.toml
	$(call install,[dev])

$(VENV)/.installed-bench: pyproject.toml
	$(call install,[bench])
