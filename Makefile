# make run    the service with the shipped model     make test    all tests
# make check  the gate: what CI runs                 make train   the environment of `python -m training`
# make sbom   the bill of materials, dist/sbom.cdx.json      make audit   what is known against the locked packages
# make fuzz   20,000 damaged files, and more: a quarter of an hour
PYTHON ?= python3
PORT ?= 8000
MUTANTS ?= 20000
SEED ?= 1

SERVE := .venv/serve
TRAIN := .venv/train
DEV := .venv/dev

.PHONY: run test check fuzz train sbom audit lock clean

run: $(SERVE)/requirements.txt
	@CXR_PORT=$(PORT) CXR_CACHE_DIR="$${CXR_CACHE_DIR-.cache/models}" exec $(SERVE)/bin/python -m app

test: $(DEV)/requirements.txt
	$(DEV)/bin/python -m pytest

check: $(DEV)/requirements.txt
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/ruff check .
	$(DEV)/bin/mypy
	$(DEV)/bin/lint-imports
	$(DEV)/bin/python -m pytest

fuzz: $(DEV)/requirements.txt
	$(DEV)/bin/python -m tests.fuzz.run --mutants $(MUTANTS) --seed $(SEED)

train: $(TRAIN)/requirements.txt
	@echo "Train with: $(TRAIN)/bin/python -m training --help"

sbom: $(DEV)/requirements.txt $(SERVE)/requirements.txt
	$(DEV)/bin/python requirements/sbom.py requirements/serve.txt $(SERVE)/bin/python dist/sbom.cdx.json

# Needs pypi.org itself; says so where it is not reached.
audit: $(DEV)/requirements.txt
	$(DEV)/bin/python requirements/audit.py requirements/serve.txt requirements/train.txt requirements/dev.txt

# Needs uv (https://docs.astral.sh/uv).
lock:
	$(PYTHON) requirements/lock.py

clean:
	rm -rf .venv .cache

# An environment is complete once its lock file is copied into it; the file is newer when it must be renewed.
.venv/%/requirements.txt: requirements/%.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
		|| { echo "Python 3.11 to 3.13 is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1). Name one: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv --clear .venv/$*
	.venv/$*/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@cp $< $@
