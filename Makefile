# Desk: what one types. `make` alone tells it.
#
#   make up STATE=DIR SSH_PORT=N HTTP_PORT=N    another place: several live side by side

SHELL := /bin/bash
PY := .venv/bin/python

# Named on the command line or in the environment, they reach `up`; nothing is set here, so that a
# configuration file that exists keeps its say.
export STATE SSH_PORT HTTP_PORT YES VERSION DIST

# A recipe installs into one environment and drives one engine: never two at once.
.NOTPARALLEL:
.PHONY: help up down purge web deb install test test-quick test-package test-engine chaos soak fuzz bench xpra-clients check format clean

help: ## this page
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

up: ## start Desk here, installing what is missing, and print how to connect
	@docker/bootstrap.sh run
	@$(PY) -m broker.cli.up up

down: ## stop the broker; desktops run on
	@docker/bootstrap.sh run
	@$(PY) -m broker.cli.up down

purge: ## remove what this instance made, homes as well (asks; YES=1 answers)
	@docker/bootstrap.sh run
	@$(PY) -m broker.cli.up purge

web: ## build the pages for browsers anew where their sources changed (`make up` does too)
	@broker/web/build.sh

test: ## every test, on a real engine and image
	@.ci/test quick engine

test-quick: ## the tests that need neither engine nor image
	@.ci/test quick

test-engine: ## the tests on a real engine, with the image and stock clients
	@.ci/test engine

chaos: ## kill brokers and engines, ROUNDS times (100), and look whether anything is lost
	@docker/bootstrap.sh test
	@$(PY) -m tests.chaos --rounds $(or $(ROUNDS),100)
	@$(PY) -m tests.chaos --rounds 10 --no-live-restore

soak: ## live through SEQUENCES (10000) of the model of a session, on all cores
	@docker/bootstrap.sh dev
	@$(PY) -m tests.soak --sequences $(or $(SEQUENCES),10000)

fuzz: ## try COUNT (10000) hostile names, keys, commands of each kind on a front door
	@docker/bootstrap.sh dev
	@FUZZ=$(or $(COUNT),10000) $(PY) -m pytest -q tests/ssh/test_hostile.py

bench: ## what Desk costs beside its peers, measured here and now (ONLY=bulk,echo; FORMAT=--json)
	@docker/bootstrap.sh test
	@$(PY) -m bench --only "$(ONLY)" $(FORMAT)

xpra-clients: ## build the xpra clients that Debian has no package of: the tests then attach with them too
	@tests/e2e/xpra-client/build.sh

check: ## linters, types, layers, documentation: seconds
	@docker/bootstrap.sh dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	@if command -v shellcheck >/dev/null; then \
	  set -x; shellcheck $$(git ls-files -co --exclude-standard "*.sh") .ci/run .ci/test; \
	else echo 'shellcheck is not installed: shell scripts were not checked.'; fi
	$(PY) -m pytest -q tests/test_docs.py

format: ## put the code into its one shape
	@docker/bootstrap.sh dev
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

deb: ## build one package for Debian 12 and 13 below dist/ (VERSION=, DIST=)
	@docker/bootstrap.sh run
	@systemd/debian/build.sh

install: ## lay Desk out on this host for systemd, as root; below DESTDIR= where that is named
	@docker/bootstrap.sh run
	@systemd/install.sh "$(or $(DESTDIR),/)" "$$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
	@if [ -z "$(DESTDIR)" ]; then systemd-sysusers desk.conf && systemd-tmpfiles --create desk.conf && \
	  systemctl daemon-reload && echo 'Start it: systemctl enable --now desk.target'; fi

test-package: ## boot Debian 12 and 13, install the package there, upgrade it under people, purge it (minutes)
	@.ci/test package

clean: ## remove what the tools left in this tree; never a state
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage dist \
	  broker/web/node_modules broker/web/dist broker/web/.built broker/web/.lock tests/browser/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
