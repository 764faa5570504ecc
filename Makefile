# Two commands: `make sweep` runs the main job on an embedded default, `make test` runs every test. `make docs` builds the
# documentation as a site.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
# Many tests wait for processes that they started, so four test processes keep two cores busy.
# They import this project some hundred times, so its bytecode is kept, whatever the environment says.
TESTERS = $(shell $(BIN)/python -c "import os; print(min(4, (os.cpu_count() or 1) * 2))")

.PHONY: sweep test types suite clean picture reference docs .imports

# Each of these goes on where it stopped and repeats nothing that is there. As much of a race and of Phase 4 as fits the
# minutes that two cores have.
sweep: $(READY)
	$(BIN)/python -m data inspect experiment=main_job
	$(BIN)/python -m sweeper -m hydra/sweeper=regularization hydra/sweeper/sampler=racing experiment=main_job hydra.sweeper.n_trials=16
	$(BIN)/python -m sweeper.study trials --study regularization-mdaf_mamba-synthetic-main_job
	$(BIN)/python -m multirun study=regularization-mdaf_mamba-synthetic-main_job looks=[5] --yes

test: export PYTHONDONTWRITEBYTECODE =
test: $(READY) .imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) --no-print-directory --jobs 2 types suite

# While test processes start and wait, types are checked.
types:
	$(BIN)/mypy
	cd .imports && ../$(BIN)/lint-imports --no-cache --config ../pyproject.toml

suite: export PYTHONDONTWRITEBYTECODE =
suite:
	$(BIN)/python -m pytest --numprocesses $(TESTERS) --dist worksteal

# The packages below mdaf as links, for mypy, pyright and the linter of imports; nothing that runs uses them.
.imports:
	rm -rf .imports && mkdir -p .imports/mdaf
	for file in mdaf/*; do ln -sfn ../../$$file .imports/$$file; done
	for room in conf data model sweeper multirun; do ln -sfn ../../$$room .imports/mdaf/$$room; done

# The site, into site/: open site/index.html in a browser. Needs no network once its packages are installed.
docs: export NO_MKDOCS_2_WARNING = 1
docs: $(VENV)/.docs .imports
	$(BIN)/python -m mkdocs build --strict --quiet
	@echo "open site/index.html"

# The pages of docs/reference that come from schemas and parsers.
reference:
	$(BIN)/python docs/making/reference.py

# Who imports whom, drawn anew into docs/architecture.md.
picture:
	$(BIN)/python docs/making/draw_imports.py

# torch first and exact: with it in place nothing else asks for a newer one, which would fetch gigabytes of CUDA.
$(READY): pyproject.toml
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --editable '.[ctr,dev]'
	touch $(READY)

$(VENV)/.docs: $(READY)
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $(VENV)/.docs

clean:
	rm -rf $(VENV) runs site
