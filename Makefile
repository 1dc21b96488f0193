# Two commands on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Two workers of one thread each: tiny models gain nothing from threads. A module stays on one
# of them, since its tests share what is costly; tests/conftest.py has the longest modules begin first.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder

.PHONY: env demo test test-all lint format bench docs locale clean

env: $(STAMP)

# torch goes first and pinned: the locked build exists without CUDA packages, an unpinned one brings gigabytes of them.
$(STAMP): constraints.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(STAMP)

demo: env
	$(BIN)/emotion-circuits models install smollm2-135m
	$(BIN)/emotion-circuits run --profile quick --out runs/demo

test: env
	$(PYTEST) -m "not slow and not oracle"

test-all: env
	$(PYTEST) -m "not oracle"

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: env
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: env
	$(BIN)/python benchmarks/bench_all.py

docs: env
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Brings the sentences of the code into every catalogue; NEW=sv begins one for another language.
locale: env
	mkdir -p build
	$(BIN)/pybabel -q extract -F pyproject.toml --no-location --sort-output --no-wrap --project=emotion-circuits \
		--copyright-holder='Emotion Circuits contributors' -o build/emotion_circuits.pot src
	$(BIN)/pybabel -q update -D emotion_circuits -i build/emotion_circuits.pot -d src/emotion_circuits/locale --no-wrap \
		--no-fuzzy-matching --ignore-pot-creation-date $(if $(NEW),--init-missing -l $(NEW))

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
