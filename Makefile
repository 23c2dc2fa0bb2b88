# Every target does its own set-up: a virtual environment in .venv, made once.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LOWEST ?= .venv-lowest

.PHONY: help demo test test-all test-lowest lint types imports pytest pytest-all docs format clean setup
help:
	@echo "make demo    train, validate, detect and export on drawn scenes (a few minutes on two quiet cores)"
	@echo "make test    lint, types, import direction and the fast tests (four and a half minutes on two quiet cores)"
	@echo "make test-all     every test, and the documentation site"
	@echo "make test-lowest  the fast tests with the lowest versions that pyproject.toml declares"
	@echo "make docs    the documentation site, into build/site"
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

test-all: lint types imports docs pytest-all

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

imports: $(READY)
	$(BIN)/lint-imports

pytest: $(READY)
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow" -rfE

pytest-all: $(READY)
	$(BIN)/python -m pytest -n auto --dist worksteal -rfE --durations 15

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

# The lowest versions of what pyproject.toml names directly, on the lowest Python that is at hand.
test-lowest:
	@test -x $(LOWEST)/bin/python || $$(python3.10 -c 'import sys; print(sys.executable)' 2>/dev/null || echo $(PYTHON)) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check uv
	@# albumentations asks for OpenCV's headless twin, of any version and in the same folder: without a desktop it comes in place of
	@# opencv-python, of the same version.
	echo "opencv-python-headless; sys_platform == 'none'" | $(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/bin/python \
	  --resolution lowest-direct --override - --editable '.[dev]'
	@$(LOWEST)/bin/python -c 'import cv2' 2>/dev/null || $(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check \
	  --no-deps "opencv-python-headless==$$($(LOWEST)/bin/python -c 'from importlib.metadata import version; print(version("opencv-python"))')"
	$(LOWEST)/bin/python -m pytest -n auto --dist worksteal -m "not slow" -rfE

format: $(READY)
	$(BIN)/ruff check --fix . || true
	$(BIN)/ruff format .

clean:
	rm -rf runs build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
