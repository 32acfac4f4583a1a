# The same few targets serve people and CI. Each sets itself up from nothing: it makes .venv, gets uv into it and
# installs the project editable. Once set up, nothing here needs a network until pyproject.toml changes.
#   make demo   make test   make lint   make docs   make notebooks   make bench   make bench-quick
#   make chaos   make format   make clean

PYTHON ?= python3
V := .venv
PY := $(V)/bin/python
# What the caller's shell says of other environments must not lead the tools away from .venv.
RUN := env -u VIRTUAL_ENV -u CONDA_PREFIX -u PYTHONPATH -u PYTHONHOME -u UV_PYTHON -u UV_SYSTEM_PYTHON \
       -u UV_PROJECT_ENVIRONMENT -u UV_TARGET -u UV_PREFIX UV_PYTHON_DOWNLOADS=never
INSTALL := $(RUN) $(PY) -m uv pip install --quiet --python $(PY)

.DEFAULT_GOAL := help
.PHONY: help demo test docs notebooks lint format bench bench-quick chaos clean

help:
	@sed -n '3,4s/^#   /targets: /p' Makefile

$(V)/uv.stamp:
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info < (3, 14); \
	ok or sys.exit("$(PYTHON) is Python %d.%d; dataflow takes 3.11 to 3.13: make PYTHON=python3.12 ..." % sys.version_info[:2])'
	@echo "setting up .venv (the first time only)"
	@rm -rf $(V)
	@$(RUN) $(PYTHON) -m venv $(V)
	@$(RUN) $(PY) -m pip install --quiet --disable-pip-version-check uv
	@touch $@

$(V)/demo.stamp: $(V)/uv.stamp pyproject.toml
	@$(INSTALL) -e '.[parquet]' --group demo
	@touch $@

$(V)/dev.stamp: $(V)/uv.stamp pyproject.toml
	@$(INSTALL) -e '.[parquet,postgres,s3,gcs,azure]' --group dev
	@touch $@ $(V)/demo.stamp

# Azure's storage for tests. Without npm those tests are skipped, but under CI=true they fail.
$(V)/azurite.stamp: $(V)/uv.stamp
	@if command -v npm >/dev/null; then \
	npm install --silent --no-audit --no-fund --no-package-lock --prefix $(V)/azurite azurite@3 && touch $@; \
	else echo "no npm: tests on Azure's storage are left out"; fi

# A browser for a test of notebooks. Where it cannot be installed that test is skipped, but under CI=true it fails.
APT := DEBIAN_FRONTEND=noninteractive apt-get -qq
$(V)/chromium.stamp: $(V)/uv.stamp
	@if command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && echo "installing chromium" \
	&& $(APT) update && $(APT) install --no-install-recommends -y chromium >/dev/null; }; then touch $@; \
	else echo "no chromium: the test in a browser is left out"; fi

demo: $(V)/demo.stamp
	@$(RUN) $(PY) examples/flights.py

# Tests and doctests; the documents and the notebooks have targets of their own. T=path::name runs only that.
# Most tests wait for processes of their own, so that two at a time take little more than half the time.
test: $(V)/dev.stamp $(V)/azurite.stamp $(V)/chromium.stamp
	@$(RUN) $(PY) -m pytest $(if $(T),$(T),--numprocesses=auto --maxprocesses=4 --dist=loadfile \
	--ignore=tests/test_docs.py --ignore=tests/test_notebooks.py)

# Writes the page of public names, which `make test` holds to the docstrings; then runs what the documents show.
docs: $(V)/dev.stamp
	@$(RUN) $(PY) -m tests.api_page
	@$(RUN) $(PY) -m pytest tests/test_docs.py

notebooks: $(V)/dev.stamp
	@$(RUN) $(PY) -m pytest --numprocesses=auto --maxprocesses=4 tests/test_notebooks.py

lint: $(V)/dev.stamp
	@$(RUN) $(PY) -m ruff check .
	@$(RUN) $(PY) -m ruff format --check .
	@$(RUN) $(PY) -m mypy
	@$(RUN) $(PY) -c 'import importlinter.cli, sys; sys.exit(importlinter.cli.lint_imports(no_logo=True))'

format: $(V)/dev.stamp
	@$(RUN) $(PY) -m ruff check --fix .
	@$(RUN) $(PY) -m ruff format .

# The honest table: ours, bare Dask and the peers, each in an environment of its own, into docs/benchmarks.md and .png: hours.
# An interrupted one goes on with B=--resume. What has changed since the last committed table is printed for people to judge.
bench: $(V)/dev.stamp
	@$(RUN) $(PY) -m benchmarks.run
	@$(RUN) $(PY) -m benchmarks.compare $(B)
	@$(RUN) $(PY) -m benchmarks.compare --check

# Ours against bare Dask, and the bars: less than three minutes.
bench-quick: $(V)/dev.stamp
	@$(RUN) $(PY) -m benchmarks.run --quick

# Everything dies: at random, by SEED, and at durable steps. COUNT drivers do, of all others in proportion; 300 take an hour.
SEED ?= 1
COUNT ?= 300
chaos: $(V)/dev.stamp
	@$(RUN) $(PY) tests/chaos/writers.py --seconds $(COUNT) --processes 8
	@$(RUN) $(PY) -m tests.chaos.chaos --seed $(SEED) --count $(COUNT)
	@$(RUN) DATAFLOW_LOCKED=30 $(PY) -m pytest tests/semantics/test_outages.py

clean:
	@rm -rf $(V) build dist flights-out .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
