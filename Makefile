# Every command sets up what it needs: `make book` or `make test` is all there is to type.
# .venv is made once, refreshed when requirements.txt changes, and made anew when it is broken.

PYTHON ?= python3
PIP_FLAGS ?=
WORKERS ?= 2
NB ?=
TESTS ?= book tests

VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
PAGE := _build/html/book/index.html

# An environment that does not start, or that was made for a folder of another name, is not ready.
ifneq ($(shell $(RUN) -c "print(open('$(READY)').read().strip())" 2>/dev/null),$(CURDIR))
$(shell rm -f $(READY))
endif

.DEFAULT_GOAL := help
.PHONY: help book test lab notebooks bench lint clean environment

help:  ## show this list
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

book: $(READY)  ## build the book, a warning being an error; print where its first page is
	@$(VENV)/bin/jupyter-book build . -W -n --keep-going -q
	@echo "The book is ready: open file://$(CURDIR)/$(PAGE)"

test: $(READY)  ## run all tests and validate every notebook (TESTS=path for some only)
	@$(RUN) -m pytest $(TESTS) -n $(WORKERS) --dist loadfile --no-loadscope-reorder

lab: $(READY)  ## open the notebooks in JupyterLab
	@$(RUN) -m jupyterlab book

notebooks: $(READY)  ## run the notebooks and store their outputs (NB=path for one)
	@$(RUN) -m tools.notebooks run $(NB)

bench: $(READY)  ## measure speed against the plain way of doing the same
	@$(RUN) -m benchmarks

lint: $(READY)  ## check style and types
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy

clean:  ## remove what was built and the kept models; the environment stays
	rm -rf _build .cache .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

environment: $(READY)  ## make or refresh .venv only

# The stamp comes last: an environment whose making was interrupted has none and is made anew.
$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; ok = (3, 11) <= v < (3, 14); \
	  ok or sys.exit(f"Python 3.11, 3.12 or 3.13 is needed; {sys.executable} is {v[0]}.{v[1]}. " \
	  "Name another one: make PYTHON=python3.12 book")'
	@if [ ! -f $@ ]; then \
	  echo "Making $(VENV): a few minutes, once"; \
	  $(PYTHON) -m venv --clear $(VENV); \
	else echo "Refreshing $(VENV)"; fi
	@rm -f $@
	@$(RUN) -m pip install -qq --disable-pip-version-check $(PIP_FLAGS) -r requirements.txt
	@$(RUN) -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@echo "$(CURDIR)" > $@
