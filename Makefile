# make run     one simulated call on the embedded default (no Asterisk, no key, nothing to download)
# make test    everything the tests need, a real Asterisk included, then the tests
# make serve   the server in the foreground
# make lint    ruff, mypy --strict, import contracts
# make model-setup  fetch models for the local engines: what suits this machine (ARGS=--yes does not ask)
# make dist    wheel and sdist into dist/

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TESTARGS ?=

.PHONY: run test serve lint dist check-dist asterisk clean model-setup
.DEFAULT_GOAL := run

$(STAMP): setup.py pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install -qq --disable-pip-version-check -e '.[test]'
	touch $@

run: $(STAMP)
	$(BIN)/asterisk-ai call --serve $(ARGS)

serve: $(STAMP)
	$(BIN)/asterisk-ai serve $(ARGS)

model-setup: $(STAMP)
	$(BIN)/python scripts/model_setup.py $(ARGS)

asterisk:
	scripts/get_asterisk.sh

# Where no Asterisk can be had the other tests still run; the run says so, and fails under CI=true.
test: $(STAMP)
	-@scripts/get_asterisk.sh
	$(BIN)/python -m pytest $(TESTARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/mypy --strict
	$(BIN)/lint-imports

dist: $(STAMP)
	rm -rf build dist
	$(BIN)/python -m build --outdir dist .

check-dist: $(STAMP)
	PYTHON=$(BIN)/python scripts/check_dist.sh

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
