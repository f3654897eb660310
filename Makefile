# The habits of the project. Python 3.11 or newer and make are all that is needed.

MAKEFLAGS += --no-print-directory
PYTHON := .venv/bin/python
SHELL := /bin/sh
# Packages are compiled when they are first used; unless that is kept, each process does it again.
unexport PYTHONDONTWRITEBYTECODE
# Two test processes, each with a site or a network of its own; conftest.py shares the tests out.
TWO := -n 2 --dist loadscope --no-loadscope-reorder

# An environment whose Python has gone, or is too old, is made anew.
$(shell for folder in .venv .venv-deploy .venv-checkov; do \
	[ ! -d $$folder ] || $$folder/bin/python -c "import sys; sys.exit(sys.version_info < (3, 11))" \
	2>/dev/null || rm -f $$folder/.*.stamp; done)

.DEFAULT_GOAL := help
.PHONY: help run test check check-deploy format bench simulate chromium promtool
.DELETE_ON_ERROR:

help:
	@echo "make run      the whole site on http://localhost:8000 (PORT and DATA_DIR are honoured)"
	@echo "make test     every test, with branch coverage"
	@echo "make check    lint, types, import rules, templates, migrations, deployment, dependencies"
	@echo "make check-deploy   chart, images, playbooks, workflows, by the real tools"
	@echo "make format   format code and templates"
	@echo "make bench    measure speed and memory, as ratios"
	@echo "make simulate nodes, waits and cost for 10^3, 10^5 and 10^7 scans a day: docs/capacity.md"

run: .venv/.run.stamp
	@exec $(PYTHON) -m tumorsite.supervisor

test: .venv/.test.stamp chromium
	@TEST_DATABASE=sqlite PYTHON="$(PYTHON)" sh scripts/test_matrix.sh $(TWO)
	@TEST_DATABASE=postgres PYTHON="$(PYTHON)" sh scripts/test_matrix.sh $(TWO)

check: .venv/.check.stamp
	@PYTHON="$(PYTHON)" sh scripts/check.sh

# The playbooks deploy the product itself, so its environment is needed, too. The two of the tools
# are filled side by side: pip keeps one processor busy, and no more.
check-deploy: .venv/.test.stamp
	@$(MAKE) -j 2 .venv-deploy/.deploy.stamp .venv-checkov/.checkov.stamp
	@$(MAKE) promtool
	@exec .venv-deploy/bin/python -m pytest -c tests/deploy/pytest.ini \
		--confcutdir tests/deploy tests/deploy

format: .venv/.check.stamp
	@$(PYTHON) -m ruff check --fix --quiet . ; $(PYTHON) -m ruff format .
	@git ls-files -z '*.html' | xargs -0 $(PYTHON) -m djlint --reformat --quiet

bench: .venv/.test.stamp
	@exec $(PYTHON) -m benchmarks

simulate: .venv/.test.stamp
	@exec $(PYTHON) -m simulation

# One environment; a stamp for each role says that its packages are in place. A stamp is made
# last, so whatever was interrupted is done again by the next run.
.venv/.made.stamp:
	@sh scripts/environment.sh make

.venv/.run.stamp: requirements/run.txt .venv/.made.stamp
	@sh scripts/environment.sh install $< $@

.venv/.test.stamp: requirements.txt .venv/.made.stamp
	@sh scripts/environment.sh install $< $@

.venv/.check.stamp: requirements/check.txt .venv/.made.stamp
	@sh scripts/environment.sh install $< $@

.venv-%/.made.stamp:
	@sh scripts/environment.sh make $(@D)

.venv-deploy/.deploy.stamp: requirements/deploy.txt .venv-deploy/.made.stamp
	@sh scripts/environment.sh install $< $@

.venv-checkov/.checkov.stamp: requirements/checkov.txt .venv-checkov/.made.stamp
	@sh scripts/environment.sh install $< $@

chromium:
	@sh scripts/chromium.sh

promtool: .venv-deploy/.made.stamp
	@sh scripts/promtool.sh .venv-deploy/tools
