# The OT mirror. `make help` lists the targets; everything they need lands in .work/, which git ignores.
WORK ?= .work
VENV := $(WORK)/venv
BIN := $(VENV)/bin
DURATION ?= 60
PYTEST := $(BIN)/python -m pytest
# Two at a time: one drives NiFi, the other everything else, most of which is waiting.
TESTS := $(PYTEST) -n $(or $(JOBS),2) --dist loadscope --no-loadscope-reorder
export OTMIRROR_WORK := $(abspath $(WORK))

# The first interpreter that NiFi's Python bridge supports; `make PYTHON=...` names another one.
PYTHON ?= $(firstword $(shell for p in python3.11 python3.12 python3.10 python3 python; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null \
	&& echo $$p && break; done))

.DEFAULT_GOAL := help
.PHONY: help setup deps demo run drill restore-drill test test-full check format nar sbom lock bench bench-bus bench-opcua bench-source bench-compare soak chaos bus-outage canvas clean up down logs

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/ready: pyproject.toml
	@test -n "$(PYTHON)" || { echo "needs Python 3.10, 3.11 or 3.12 with venv: on Debian 12 'apt-get install python3-venv'; where the system's Python is newer 'uv python install 3.12', then make PYTHON=<its path>"; exit 1; }
	@echo "creating the virtual environment in $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[command,test]'
	@touch $@

setup: $(VENV)/ready ## install NiFi, VictoriaMetrics and the bundle's dependencies
	@$(BIN)/otmirror setup

deps: $(VENV)/ready ## fill processors/NAR-INF with the bundle's dependencies
	@$(BIN)/otmirror setup --only bundle

demo: setup ## the main job, end to end, for DURATION=60 seconds; writes report.html
	@$(BIN)/otmirror demo --duration $(DURATION)

run: setup ## the same, until Ctrl-C; prints the addresses of the canvas and of VictoriaMetrics
	@$(BIN)/otmirror demo --forever

drill: setup ## faults on purpose in a pilot of its own, timed until noticed, named and healed: about half an hour
	@$(BIN)/otmirror drill --runbooks --output $(WORK)/drill.json --page $(WORK)/drill.md

test: setup ## the essential tests, all tiers
	@$(BIN)/otmirror setup --only peers
	@$(TESTS) -m "not heavy"

test-full: setup ## the heavy tests: real data exactly, outages, kills, the NAR
	@$(BIN)/otmirror setup --only peers
	@$(BIN)/otmirror setup --only heavy
	@$(TESTS) -m heavy

check: $(VENV)/ready ## ruff, mypy, the policy where there is an OPA, known vulnerabilities where there is a database
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/otmirror policy check --skip-without-opa flows/*.json docker-compose.yml
	@$(BIN)/otmirror supply scan

format: $(VENV)/ready ## format the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

nar: setup ## build dist/otmirror-nar-<version>.nar, for a NiFi's autoload folder
	@$(BIN)/otmirror nar

sbom: setup ## bill of materials and licences of what the NAR brings along, in dist/
	@$(BIN)/otmirror supply sbom

lock: $(VENV)/ready ## processors/requirements.lock anew, after a change of requirements.txt
	@$(BIN)/otmirror supply lock

bench: setup ## samples/s at saturation, freshness at 2,000 tags a second, memory; see bench/RESULTS.md
	@$(BIN)/python bench/pilot.py

bench-bus: setup ## freshness at 5,000 tags a second and samples/s over Kafka and over MQTT
	@$(BIN)/otmirror setup --only peers
	@$(BIN)/python bench/bus.py

bench-opcua: setup ## CPU of reading 10,000 OPC UA values: asyncua, gopcua, async-opcua, ours
	@$(BIN)/otmirror setup --only peers
	@$(BIN)/python bench/opcua.py
	@$(BIN)/python bench/opcua_subscribe.py

bench-source: setup ## samples/s that one ReadOpcUaTags gives inside NiFi (needs cargo)
	@$(BIN)/python bench/nifi_source.py

bench-compare: setup ## time and memory of comparing two historians: 10,000 tags, a day, a sample each 10 s
	@$(BIN)/python bench/compare.py

soak: setup ## an OPC UA source of 10,000 tags for SECONDS=7200 against a server that counts (needs cargo)
	@$(BIN)/python bench/opcua_soak.py --reader --seconds $(or $(SECONDS),7200) --every 60

chaos: setup ## kill NiFi, its Python processes and VictoriaMetrics again and again: ROUNDS=20
	@OTMIRROR_CHAOS_ROUNDS=$(or $(ROUNDS),20) $(PYTEST) -m chaos tests/nifi

restore-drill: setup ## back up the running pilot, destroy it, restore it, prove what came back; RPO and RTO
	@$(BIN)/otmirror backup drill

bus-outage: setup ## take each broker away for SECONDS=300 in mid-run, with real brokers
	@$(BIN)/otmirror setup --only peers
	@OTMIRROR_OUTAGE_SECONDS=$(or $(SECONDS),300) $(PYTEST) tests/nifi/test_bus.py

canvas: setup ## take docs/canvas.png from the running NiFi (needs Chromium)
	@$(BIN)/otmirror demo --duration 20 --canvas docs/canvas.png

up: ## the whole stack in containers, needs Docker: PROFILE=pilot or full, WITH="tsdb core"; see docs/compose.md
	@compose/up $(or $(PROFILE),pilot) $(WITH)

down: ## stop it; what it stored stays in its volumes
	@docker compose --profile pilot --profile full --profile setup down --remove-orphans

logs: ## follow what its services say: SERVICE=name for one of them
	@docker compose --profile pilot --profile full logs --follow --tail 100 $(SERVICE)

clean: ## remove what make created, but keep downloads in other caches
	rm -rf $(WORK) dist report.html processors/NAR-INF processors/META-INF
