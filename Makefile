# `make demo` and `make test` do all set-up: a virtual environment in .venv, made once.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo test lint types imports pytest format clean setup
help:
	@echo "make demo    train, validate, detect and export on drawn scenes (a few minutes on two quiet cores)"
	@echo "make test    lint, types, import direction, tests"
	@echo "make setup   only the virtual environment in $(VENV)"
	@echo "make format  put the code into the house's form"
	@echo "make clean   remove what the demo and the tests made; the virtual environment stays"

setup: $(READY)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "Python 3.10 or newer is needed; $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another: make PYTHON=python3.12 …"; exit 1; }
	@echo "setting up $(VENV): torch with its CUDA libraries is some 6 GB on disk, once"
	@test -x $(BIN)/pip || { rm -rf $(VENV) && $(PYTHON) -m venv $(VENV); } || \
	  { rm -rf $(VENV); echo "the venv module is missing; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@# Without a desktop's libraries (libGL) OpenCV's usual wheel can't be imported; its headless twin, of the same version, can.
	@$(BIN)/python -c 'import cv2' 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check --force-reinstall \
	  --no-deps "opencv-python-headless==$$($(BIN)/python -c 'from importlib.metadata import version; print(version("opencv-python"))')"
	@touch $@

demo: $(READY)
	$(BIN)/yolo-ema demo

test: lint types imports pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

imports: $(READY)
	$(BIN)/lint-imports

pytest: $(READY)
	@# A test whose worker process died under it, which says nothing of the test, is run once more, and named at the end; one that
	@# failed is not.
	$(BIN)/python -m pytest -n auto --dist worksteal --reruns 1 --only-rerun "crashed while running" -rfER --durations 15

format: $(READY)
	$(BIN)/ruff check --fix . || true
	$(BIN)/ruff format .

clean:
	rm -rf runs build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
