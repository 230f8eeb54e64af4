# make run     one simulated call on the embedded default (no Asterisk, no key, nothing to download)
# make test    everything the tests need, a real Asterisk and a browser included, then the tests (TESTARGS=...; WORKERS=0: one by one)
# make test-unit   what needs no server and no process
# make serve   the server in the foreground
# make lint    ruff, mypy --strict, import contracts
# make model-setup  fetch models for the local engines: what suits this machine (ARGS=--yes does not ask)
# make provider=NAME provider-switch          use another pipeline from the next call on (ARGS="--dry-run", "--force")
# make provider-reload                        the running server reads its configuration again
# make provider=NAME provider-switch-remote HOST=pbx    the same over ssh
# make logs, server-clear-logs, test-health   the server's log, emptying it (LOGFILE=...), how it is
# make regression  real calls through a real Asterisk over every transport, with a report (ARGS="--transport rtp")
# make docs    the documentation into build/docs (a warning is an error)
# make dist    wheel and sdist into dist/

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-compile
STAMP := $(VENV)/.installed
TEST_STAMP := $(VENV)/.installed-test
TESTARGS ?=
# Most tests wait for something. A process takes a file of them at a time, those that take longest first.
WORKERS ?= $(shell echo $$((2 + $$(nproc))))
XDIST := -n $(WORKERS) --dist loadscope --no-loadscope-reorder
# Each of some thousand processes would else compile what it imports.
unexport PYTHONDONTWRITEBYTECODE
SSH ?= ssh
UNIT ?= asterisk-ai
HEALTH ?= http://127.0.0.1:9093/health

.PHONY: run test test-unit regression serve lint dist docs check-dist asterisk clean model-setup \
	provider-switch provider-reload provider-switch-remote logs server-clear-logs test-health
.DEFAULT_GOAL := run

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)'
	@echo "installing into $(VENV): a minute or two"
	$(PYTHON) -m venv $(VENV)

$(STAMP): setup.py pyproject.toml | $(BIN)/python
	$(PIP) -e .
	touch $@

# With what running does not need: test tools, and the local engines' libraries.
$(TEST_STAMP): setup.py pyproject.toml | $(BIN)/python
	$(PIP) -e '.[test]'
	touch $(STAMP) $@

run: $(STAMP)
	$(BIN)/asterisk-ai call --serve $(ARGS)

serve: $(STAMP)
	$(BIN)/asterisk-ai serve $(ARGS)

model-setup: $(STAMP)
	$(BIN)/python scripts/model_setup.py $(ARGS)

provider-switch: $(STAMP)
	@test -n "$(provider)" || { echo "say which: make provider=NAME provider-switch"; $(BIN)/asterisk-ai provider list; exit 2; }
	$(BIN)/python scripts/switch_provider.py "$(provider)" $(ARGS)

provider-reload: $(STAMP)
	$(BIN)/asterisk-ai provider reload $(ARGS)

# The asterisk-ai that is installed there does it, with the configuration that it finds there.
provider-switch-remote:
	@test -n "$(provider)" -a -n "$(HOST)" || { echo "make provider=NAME provider-switch-remote HOST=user@pbx"; exit 2; }
	$(SSH) "$(HOST)" -- asterisk-ai provider switch "'$(provider)'" $(ARGS)

# LOGFILE: where the server's output goes to a file; else it is in systemd's journal.
logs:
	$(if $(LOGFILE),tail -n 100 -F "$(LOGFILE)",journalctl -n 100 -f -u $(UNIT))

server-clear-logs:
	$(if $(LOGFILE),: > "$(LOGFILE)",@echo "the journal is all services': journalctl --rotate --vacuum-time=1d empties it"; exit 2)

test-health:
	@curl -sS --max-time 5 -w '\nHTTP %{http_code}\n' "$(HEALTH)"; curl -sf --max-time 5 -o /dev/null "$(HEALTH)"

asterisk:
	scripts/get_asterisk.sh

# Where no Asterisk or browser can be had the other tests still run; the run says so, and fails under CI=true.
test: $(TEST_STAMP)
	-@scripts/get_asterisk.sh
	-@scripts/get_prometheus.sh
	-@scripts/get_hosts.sh
	-@scripts/get_chromium.sh >/dev/null
	$(BIN)/python -m pytest $(XDIST) $(TESTARGS)

test-unit: $(TEST_STAMP)
	$(BIN)/python -m pytest tests/unit $(XDIST) $(TESTARGS)

regression: $(TEST_STAMP)
	$(BIN)/asterisk-ai regress $(ARGS)

lint: $(TEST_STAMP)
	$(BIN)/ruff check .
	$(BIN)/mypy --strict
	$(BIN)/lint-imports

docs: $(TEST_STAMP)
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs

dist: $(TEST_STAMP)
	rm -rf build dist
	ASTERISK_AI_PLATFORM=any $(BIN)/python -m build --outdir dist .
	for system in manylinux_2_34_x86_64 manylinux_2_34_aarch64; do \
		ASTERISK_AI_PLATFORM=$$system $(BIN)/python -m build --wheel --outdir dist . || exit 1; done

check-dist: $(TEST_STAMP)
	PYTHON=$(BIN)/python scripts/check_dist.sh

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
