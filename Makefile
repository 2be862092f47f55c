# `make train` and `make test` each start from nothing: they make the virtual environment first where it is missing.
# `make train ARGS="--size s --epochs 50"`, `make test ARGS="-k anchors"`, `make PYTHON=python3.12 test`

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: venv install test train lint

venv install: $(VENV)/installed

$(VENV)/installed: requirements.txt pyproject.toml setup.py
	@$(PYTHON) -c "import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))" || \
		{ echo "Python 3.11, 3.12 or 3.13 is needed: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "cannot make $(VENV); on Debian: apt install python3-venv" >&2; exit 1; }
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[test]"
	@touch $@

test: $(VENV)/installed
	$(VENV)/bin/python -m pytest $(ARGS)

train: $(VENV)/installed
	$(VENV)/bin/python -m yoloseg.train $(ARGS)

lint: $(VENV)/installed
	$(VENV)/bin/python -m ruff check .
