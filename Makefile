# make demo: the whole main job on built-in sounds, offline after installation.
# make test: style, types, tests; make test-full: every test there is, however long.
# make docs: the documents as a site, in build/site.
# All make .venv themselves, from constraints.txt.

PYTHON ?= python3
# What to install besides the library: test, or dev to have openSMILE too (its licence: no commercial use).
EXTRAS ?= test
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/pip install --disable-pip-version-check --quiet -c constraints.txt

.PHONY: demo test test-full docs format clean

demo: $(VENV)/installed
	$(BIN)/atst demo

test: $(VENV)/installed-$(EXTRAS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -q -n 2 --dist worksteal

test-full: $(VENV)/installed-$(EXTRAS)
	$(BIN)/pytest -q -n 2 --dist worksteal -m "full or not full"

docs: $(VENV)/installed-docs
	$(BIN)/mkdocs build --strict

format: $(VENV)/installed-$(EXTRAS)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist src/*.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)

# The empty files say what is installed; they are older than a changed pyproject.toml.
$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Installing into $(VENV) (some minutes the first time)"
	$(INSTALL) -e .
	touch $@

$(VENV)/installed-%: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Installing into $(VENV) (some minutes the first time)"
	$(INSTALL) -e ".[$*]"
	touch $(VENV)/installed $@
