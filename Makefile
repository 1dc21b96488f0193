# Two commands on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Two workers of one thread each: tiny models gain nothing from threads. A module stays on one
# of them, since its tests share what is costly; tests/conftest.py has the longest modules begin first.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder

.PHONY: env lock licences audit demo test test-all lint format bench docs docs-zensical pictures wheel wheel-check locale clean

env: $(STAMP)

# The lock goes first: every file against its sum, wheels only, so that nothing of a download is run. torch goes by its version,
# since its build differs from index to index; what it needs beside its own libraries is there by then.
$(STAMP): requirements.lock constraints.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary=:all: --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary=:all: -c constraints.txt \
		"$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(STAMP)

# Sums of all files of every locked package, for every platform; torch and its own libraries are left out.
lock:
	printf 'hatchling\neditables\n' | uv pip compile --quiet pyproject.toml - --extra dev --generate-hashes --universal \
		--python-version 3.11.5 -c constraints.txt --no-annotate --no-header \
		| awk '/^[^ ]/ {kept = !/^(torch|triton|nvidia-|cuda-)/} kept' > requirements.lock.new
	mv requirements.lock.new requirements.lock

# What each locked package's own metadata says; a test compares the page with the lock and with the licences that are allowed.
licences: env
	$(BIN)/python docs/licences.py

# Known weaknesses of every locked version, from PyPI's database; an index without one is said, never taken for "none known".
audit:
	mkdir -p build
	test -x build/audit/bin/pip-audit || { $(PYTHON) -m venv build/audit && build/audit/bin/python -m pip install --quiet \
		--disable-pip-version-check --only-binary=:all: pip-audit; }
	grep '^torch==' constraints.txt > build/torch.txt
	for list in requirements.lock build/torch.txt; do \
		build/audit/bin/pip-audit --strict --no-deps --disable-pip -r $$list || { \
			echo "$$list: not all of it is free of known weaknesses, or the database did not answer (the lines above say which)" >&2; \
			exit 1; }; \
	done

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

# Pictures of a report and of a rater's page, from the run of 'make demo'.
pictures: env
	$(BIN)/python docs/pictures.py runs/demo

# The same pages by Zensical, which reads mkdocs.yml as it is but runs no hooks: what they write is written out first.
docs-zensical: env
	$(BIN)/python docs/hooks.py build/plain
	test -x build/zensical/bin/zensical || { $(PYTHON) -m venv build/zensical && build/zensical/bin/python -m pip install --quiet \
		--disable-pip-version-check --only-binary=:all: zensical 'mkdocstrings[python]'; }
	cd build/plain && ../zensical/bin/zensical build

wheel: env
	mkdir -p dist && rm -f dist/emotion_circuits-*.whl
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist .
	ls dist/*.whl

# The wheel as somebody gets it who has nothing else: an environment of its own, what it needs from the index, an empty folder.
wheel-check: wheel
	rm -rf build/bare && mkdir -p build/bare/empty
	$(PYTHON) -m venv build/bare/env
	build/bare/env/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt dist/*.whl
	cd build/bare/empty && ../env/bin/emotion-circuits --help > /dev/null && ../env/bin/emotion-circuits models list && \
		../env/bin/emotion-circuits data describe core && ../env/bin/emotion-circuits data attribute emotion-en

# Brings the sentences of the code into every catalogue; NEW=sv begins one for another language.
locale: env
	mkdir -p build
	$(BIN)/pybabel -q extract -F pyproject.toml --no-location --sort-output --no-wrap --project=emotion-circuits \
		--copyright-holder='Emotion Circuits contributors' -o build/emotion_circuits.pot src
	$(BIN)/pybabel -q update -D emotion_circuits -i build/emotion_circuits.pot -d src/emotion_circuits/locale --no-wrap \
		--no-fuzzy-matching --ignore-pot-creation-date $(if $(NEW),--init-missing -l $(NEW))

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
