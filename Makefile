# LinearNexus: `make quickstart` trains a small language model, whatever is installed; `make help` lists the rest.
# Plain make (3.81, the one of macOS, is enough). The first run installs into .venv; later runs need no network.

PYTHON ?= python3
VENV ?= .venv
PEERS = .venv-peers
ARGS ?=
BIN = $(VENV)/bin

.PHONY: help quickstart test test-all lint bench family lengths minutes laws parity interop remat docs clean

help:
	@echo "make quickstart   train a small language model for three minutes, then let it write"
	@echo "make test         run the tests that fit between two edits   (ARGS=\"-k laws\" runs some of them)"
	@echo "make test-all     run all tests: a quarter of an hour on two cores"
	@echo "make lint         check format, style, types and imports"
	@echo "make docs         build the documentation as a site, build/site/index.html"
	@echo "make laws         measure every mixer's error: a call = its steps = any split, padding or packing"
	@echo "make parity       compare models with transformers (installs PyTorch into $(PEERS))"
	@echo "make interop      convert tiny models of transformers and back, and compare (uses $(PEERS) too)"
	@echo "make bench        race PyTorch, transformers and mamba.py (installs them into $(PEERS))"
	@echo "make family       measure every mixer beside GPT: training, generation, compilation"
	@echo "make lengths      measure every mixer's time and memory as texts grow"
	@echo "make remat        measure what each --remat costs and saves in a training step"
	@echo "make minutes      train every small preset for the same three minutes"
	@echo "make clean        delete $(VENV), caches and builds; runs/ stays"
	@echo
	@echo "PYTHON=python3.12 picks the Python of a new $(VENV)."

quickstart: $(VENV)/.installed
	$(BIN)/linearnexus train gpt-nano --data stories --max-minutes 3
	$(BIN)/linearnexus generate runs/latest "Once upon a time there was a princess" --temperature 0.5

test: $(VENV)/.dev
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not slow" $(ARGS)

test-all: $(VENV)/.dev
	$(BIN)/python -m pytest -q -n 2 --dist worksteal $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m scripts.circles

docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "Open build/site/index.html."

laws: $(VENV)/.dev
	$(BIN)/python -m tests.laws $(ARGS)

parity: $(PEERS)/.installed $(VENV)/.dev
	$(PEERS)/bin/python -m tests.parity.make_golden --check
	$(BIN)/python -m pytest -q tests/test_parity.py

interop: $(PEERS)/.installed $(VENV)/.dev
	$(BIN)/python -m tests.parity.checkpoints --peer $(PEERS)/bin/python
	$(BIN)/python -m tests.parity.perplexity --peer $(PEERS)/bin/python
	$(BIN)/python -m tests.parity.adapters --peer $(PEERS)/bin/python
	$(BIN)/python -m tests.parity.glass

bench: $(PEERS)/.installed $(VENV)/.dev
	$(BIN)/python -m benchmarks.race $(ARGS)

family: $(VENV)/.dev
	$(BIN)/python -m benchmarks.family $(ARGS)

lengths: $(VENV)/.dev
	$(BIN)/python -m benchmarks.lengths $(ARGS)

remat: $(VENV)/.dev
	$(BIN)/python -m benchmarks.remat $(ARGS)

minutes: $(VENV)/.dev
	$(BIN)/python -m benchmarks.same_minutes $(ARGS)

clean:
	rm -rf $(VENV) build dist .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# Each stamp says that an install went through; one older than pyproject.toml means that the dependencies may have changed.
$(VENV)/.installed: pyproject.toml $(BIN)/python
	@echo "Installing LinearNexus and what it needs into $(VENV): about 650 MB, once, a minute or two."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml $(BIN)/python
	@echo "Installing LinearNexus and its development tools into $(VENV): about 900 MB, once, a minute or two."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	@touch $(VENV)/.installed $@

# On Linux the usual PyTorch brings CUDA along; PIP_EXTRA_INDEX_URL can name PyTorch's index of builds for the CPU alone.
$(PEERS)/.installed: $(PEERS)/bin/python
	@echo "Installing PyTorch, transformers and mamba.py into $(PEERS): 1.2 GB or more, once, a few minutes."
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check \
		numpy safetensors torch==2.13.0 transformers==5.23.0 mambapy==1.2.0 peft==0.21.2
	@touch $@

$(PEERS)/bin/python:
	@sh scripts/make_venv.sh "$(PYTHON)" "$(PEERS)"

# A link to a Python that is gone counts as missing, so the environment is made again.
$(BIN)/python:
	@sh scripts/make_venv.sh "$(PYTHON)" "$(VENV)"
