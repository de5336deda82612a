# Needs only make and Python >= 3.11; each command sets up what it needs in .venv first.
PORT = 8501
MODEL = demo:planted
WORKERS = 2

PYTHON := $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
BIN = .venv/bin

.PHONY: app test lint check bench soak clean

app: .venv/app.stamp  # the app on http://localhost:8501: make app MODEL=path PORT=8502
	$(BIN)/inspector app '$(MODEL)' --port $(PORT)

test: .venv/dev.stamp  # the whole test suite
	$(BIN)/pytest -n $(WORKERS) --dist worksteal

lint: .venv/dev.stamp  # style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test  # all that must pass before a commit

bench: .venv/app.stamp  # the figures of the README, measured here
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

soak: .venv/dev.stamp  # the same tests with far more random cases, and those that take long
	$(BIN)/pytest -m '' --hypothesis-profile soak

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/bin/python:
	@test -n '$(PYTHON)' || { echo 'inspector needs Python 3.11 or newer on the PATH.' >&2; exit 1; }
	$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

.venv/app.stamp: requirements.txt pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install -r requirements.txt
	$(BIN)/python -m pip install --no-deps -e .
	touch $@

.venv/dev.stamp: requirements-dev.txt .venv/app.stamp
	$(BIN)/python -m pip install -r requirements-dev.txt
	touch $@
