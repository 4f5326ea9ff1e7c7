# `make demo` shows a reconstruction, `make check` is what CI runs.
PYTHON ?= python3
# One more package index to take torch from (see CONTRIBUTING.md).
TORCH_INDEX ?=
PYTEST_ARGS ?=

BIN := .venv/bin
PROOFS := tests/evidence tests/torch/test_several_processes.py tests/report/test_live.py
INSTALL := $(BIN)/python -m pip install --quiet -c constraints.txt
PYTEST := CUDA_VISIBLE_DEVICES="" OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

.PHONY: demo test check lint docs integration clients faults fuzz combinations wires lowest clean

demo: .venv/installed
	$(BIN)/ptycho demo --overwrite

test: .venv/installed-dev
	$(PYTEST) -m "not combinations and not integration and not faults" $(PYTEST_ARGS)

check: lint docs test integration

lint: .venv/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

# Warnings are errors; build/site/index.html opens from the disk.
docs: .venv/installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

integration: .venv/installed-dev
	$(PYTEST) -m "(integration or faults) and not combinations and not thorough" $(PYTEST_ARGS)

clients: .venv-clients/installed
	CUDA_VISIBLE_DEVICES="" OMP_NUM_THREADS=1 .venv-clients/bin/python -m pytest -n 2 -o addopts= --import-mode=importlib \
		-ra tests/clients $(PYTEST_ARGS)

faults: .venv/installed-dev
	$(PYTEST) -m faults tests/faults $(PYTEST_ARGS)

combinations: .venv/installed-dev
	$(PYTEST) -m "" tests/combinations tests/torch/test_machine.py $(PYTEST_ARGS)

wires: .venv/installed-dev
	$(BIN)/python docs/evidence.py | CUDA_VISIBLE_DEVICES="" OMP_NUM_THREADS=1 xargs -P 2 -I KNOB \
		$(BIN)/python -m pytest -q -rN --tb=no $(PROOFS) --cut KNOB $(PYTEST_ARGS)

fuzz: .venv/installed-dev
	$(PYTEST) --hypothesis-profile=fuzz --least-cases=100000 tests/properties $(PYTEST_ARGS)

# Old packages on new ones that they have not heard of: their warnings are no errors.
lowest: .venv-lowest/installed
	CUDA_VISIBLE_DEVICES="" OMP_NUM_THREADS=1 .venv-lowest/bin/python -m pytest -n 2 \
		-W ignore::DeprecationWarning -m "not combinations and not integration and not faults" $(PYTEST_ARGS)

clean:
	rm -rf .venv .venv-clients .venv-lowest build dist .hypothesis .import_linter_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/torch: constraints.txt
	@echo "Installing into .venv; the first time takes minutes."
	$(PYTHON) -m venv .venv
	$(INSTALL) torch $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
	touch $@

# ptychodus brings many packages that are not ours: an environment of its own
.venv-clients/installed: constraints.txt pyproject.toml
	$(PYTHON) -m venv .venv-clients
	.venv-clients/bin/python -m pip install --quiet -c constraints.txt torch $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
	.venv-clients/bin/python -m pip install --quiet -c constraints.txt -e ".[ptychodus]" hypothesis pytest pytest-xdist
	touch $@

.venv/installed: .venv/torch pyproject.toml
	$(INSTALL) -e .
	touch $@

.venv/installed-dev: .venv/torch pyproject.toml
	$(INSTALL) -e ".[dev]"
	touch $@ .venv/installed

# The lowest versions that pyproject.toml promises; what they bring is as new as they allow.
.venv-lowest/installed: pyproject.toml
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet uv
	.venv-lowest/bin/uv pip install --quiet --python .venv-lowest/bin/python --resolution lowest-direct \
		$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -e ".[dev]"
	touch $@
