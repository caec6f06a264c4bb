# `make help` says what there is.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test test-litellm lint types bench chaos openapi schema-fuzz requirements

help:  ## show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1|/' | column -t -s '|'

$(STAMP): requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=…")'
	$(PYTHON) -m venv $(VENV)
	@# The list is whole, so nothing is looked for: pip would stumble over a newer release of what it names with an extra.
	$(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.txt
	@touch $@

demo: $(STAMP)  ## run the platform with a demo customer on http://localhost:8003 (PORT=… for another port)
	@exec $(RUN) manage.py demo

test: $(STAMP)  ## run the tests: on SQLite, and on PostgreSQL and Redis when they are reachable
	@$(RUN) scripts/run_tests.py

test-litellm: $(STAMP)  ## run the examples and OpenAI's client through a real LiteLLM proxy, on PostgreSQL and Redis
	@$(RUN) -m tests.acceptance.through_litellm

lint: $(STAMP)  ## ruff, mypy and the layers between apps
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

bench: $(STAMP)  ## calls a second and CPU a call, on PostgreSQL and Redis (ARGS="--help" for options)
	@$(RUN) -m benchmarks.bench $(ARGS)

chaos: $(STAMP)  ## kill workers and web, drop and repeat messages, hang Redis: N=1000 SEED=1
	@$(RUN) -m tests.chaos.run --calls $(or $(N),1000) --seed $(or $(SEED),1)

openapi: $(STAMP)  ## write docs/openapi.json, the committed copy of /openapi.json
	@$(RUN) manage.py openapi

schema-fuzz: $(STAMP)  ## ask a served platform whatever the OpenAPI document allows, and not: EXAMPLES=20 SEED=1
	@$(RUN) -m tests.openapi.fuzz --examples $(or $(EXAMPLES),20) --seed $(or $(SEED),1)

requirements: $(STAMP)  ## compile requirements*.txt from pyproject.toml (needs uv)
	bash scripts/compile_requirements.sh
