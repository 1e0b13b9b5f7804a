# The shop's commands. `make` alone lists them; each installs what it needs first and is quick the second time.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
PYTHON := $(VENV)/bin/python
STAGE = dev
ARCHITECTURE ?= arm64
# In two processes over one set of engines: tests/side_by_side.py says what runs beside what.
PYTEST := env -u DJANGO_SETTINGS_MODULE $(PYTHON) -m pytest -n 2 --max-worker-restart 1
ORDERS ?= 1000000
DEPLOYING := env -u DJANGO_SETTINGS_MODULE $(PYTHON) -m infrastructure.deploying
# What a deploy is told counts where it stands on make's own command line; but PLAN, and ROLE and YES, which CI sets.
# 1 means yes, 0 and nothing no; any other word is refused, or what was only to be looked at would be done.
said = $(if $(findstring command line,$(origin $(1))),$($(1)))
yes = $(if $(filter "" "0" "1","$(2)"),$(filter 1,$(2)),$(error $(1)=$(2) is neither 1, yes, nor 0, no))
flag = $(if $(call yes,$(1),$(call said,$(1))),--$(2))
plan = $(if $(call yes,PLAN,$(PLAN)),--plan)
named = $(if $(call said,$(1)),--$(2) '$(call said,$(1))')
ASKED = $(if $(call yes,YES,$(YES)),--yes) $(call flag,BREAK_LOCK,break-lock) $(call named,ACCOUNT,account) \
	$(call named,PATIENCE,patience)
TRAILS := $(CURDIR)/.build/trails

.PHONY: help
help: ## list the targets
	@echo "Vibecode: the back end of a shop on AWS, and all of its cloud on this machine."
	@echo
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-20s %s\n", $$1, $$2 }'

# --- set-up: a private uv, Python 3.13 (else the newest of 3.12 and later), the hashed requirements ----------------
.PHONY: install
install: $(VENV)/installed ## install everything into .venv (the other targets do it by themselves)

$(VENV)/installed: requirements/dev.txt .python-version .ci/bootstrap
	@sh .ci/bootstrap

# --- the product -----------------------------------------------------------------------------------------------------
.PHONY: run
run: install ## start the whole shop on this machine and serve until Ctrl-C (PORT=8000)
	@exec $(PYTHON) -m vibecode.local.supervisor

.PHONY: reset
reset: ## erase .local/: the shop's data on this machine
	@sh .ci/reset

# --- the tests -------------------------------------------------------------------------------------------------------
.PHONY: test
test: install ## run every test at small scale: real PostgreSQL, local AWS, real HTTP, real browser
	@$(PYTEST)

.PHONY: test-full
test-full: install ## run every test at full scale, keep what the functions called; and the last release's on today's schema
	@rm -f $(TRAILS)/tests.jsonl
	@TEST_SCALE=full LOCAL_TRAIL=$(TRAILS)/tests.jsonl $(PYTEST) -m "not recorded"
	@$(PYTHON) -m infrastructure.privilege.recorder tests $(TRAILS)/tests.jsonl
	@$(PYTEST) -m recorded tests/infrastructure
	@$(MAKE) --no-print-directory test-previous

.PHONY: test-previous
test-previous: install ## run the tests of the release before against the schema of today
	@env -u DJANGO_SETTINGS_MODULE $(PYTHON) -m vibecode.local.previous_release

.PHONY: bench
bench: install ## run the benchmarks: tables of ratios
	@env -u DJANGO_SETTINGS_MODULE $(PYTHON) -m benchmarks

.PHONY: bench-scale
bench-scale: install ## measure every list in a shop of a million orders: statements, plans, milliseconds (ORDERS=1000000)
	@env -u DJANGO_SETTINGS_MODULE $(PYTHON) -m benchmarks.scale --orders $(ORDERS)

# --- AWS -------------------------------------------------------------------------------------------------------------
.PHONY: package
package: install ## make the package for Lambda (STAGE=dev ARCHITECTURE=arm64)
	@$(PYTHON) -m infrastructure.package --stage $(STAGE) --architecture $(ARCHITECTURE)

.PHONY: deploy
deploy: install ## bring a stage to AWS: a plan, a question, line by line (STAGE=dev PLAN=1 YES=1 TAG=name); docs/deploy.md
	@$(DEPLOYING) deploy --stage $(STAGE) $(plan) $(call named,TAG,tag) $(if $(ROLE),--role '$(ROLE)') \
		$(call flag,MAY_LOSE,may-lose) $(ASKED)

.PHONY: rollback
rollback: install ## bring back the release before: both functions and their files (STAGE=dev YES=1 TO=name)
	@$(if $(plan),$(error PLAN: a rollback has no plan))$(DEPLOYING) rollback --stage $(STAGE) $(call named,TO,to) $(ASKED)

.PHONY: pipeline
pipeline: install ## bring the pipeline to AWS, once an account (REPOSITORY=owner/name BRANCH=main PLAN=1 YES=1); docs/deploy.md
	@$(DEPLOYING).pipeline $(call named,REPOSITORY,repository) $(call named,BRANCH,branch) \
		$(call named,SUBJECT,subject) $(call named,PROVIDER,provider) $(plan) $(if $(call yes,YES,$(YES)),--yes) \
		$(call flag,MAY_LOSE,may-lose)

.PHONY: rehearse
rehearse: install ## deploy with Zappa to the local AWS, run the deployed zip in AWS's own runtime, drive it (Linux)
	@rm -f $(TRAILS)/rehearsal.jsonl
	@env -u DJANGO_SETTINGS_MODULE LOCAL_TRAIL=$(TRAILS)/rehearsal.jsonl $(PYTHON) -m infrastructure.rehearsal
	@$(PYTHON) -m infrastructure.privilege.recorder rehearsal $(TRAILS)/rehearsal.jsonl

.PHONY: bench-cold
bench-cold: install ## measure the first request of a new sandbox in AWS's own runtime, beside bare Django + DRF + Zappa
	@env -u DJANGO_SETTINGS_MODULE $(PYTHON) -m benchmarks.cold

# --- the checks ------------------------------------------------------------------------------------------------------
.PHONY: check
check: install ## check format, lint, types, imports, migrations, deployment, dependencies, dead code, stacks
	@sh .ci/check

.PHONY: format
format: install ## format the code and mend what lint can mend
	@$(PYTHON) -m ruff format .
	@$(PYTHON) -m ruff check --fix .

.PHONY: lock
lock: install ## lock the requirements anew, with hashes and without addresses
	@sh .ci/lock
