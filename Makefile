# make demo              set up, show the shipped codec beside x264 and x265, then train it for a few minutes more
# make demo VIDEO=a.mp4  the same on your own clip (MINUTES=20 trains for longer)
# make test              set up and run the tests, one on each core (JOBS=0: one after the other;
#                        TESTS="-m 'not slow'" for the quick ones)
# make lint              ruff and mypy
# make env               set up only: the environment in .venv, with this checkout installed in place
# make clean             remove the environment and what the demo wrote
#
# VENV=folder puts the environment elsewhere; PYTHON=program makes it with another Python (3.11 or later).

PYTHON ?= python3.11
VENV ?= .venv
MINUTES ?=
TESTS ?=
JOBS ?= auto

RUN := $(VENV)/bin/python
READY := $(VENV)/.ready

.PHONY: demo test lint env clean

demo: $(READY)
	$(RUN) -m torchDVC.demo $(if $(MINUTES),--minutes $(MINUTES)) $(if $(VIDEO),--video "$(VIDEO)")

test: $(READY)
	$(RUN) -m pytest --numprocesses $(JOBS) --maxprocesses 8 --dist worksteal $(TESTS)

lint: $(READY)
	$(RUN) -m ruff check .
	$(RUN) -m mypy

env: $(READY)

# The stamp is written last, so an installation that was interrupted is taken up again.
$(READY): setup.py pyproject.toml $(wildcard Requirements/*.txt)
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --upgrade pip
	$(RUN) -m pip install --editable ".[test,dev,benchmarks]"
	touch $@

clean:
	rm -rf $(VENV) demo build torchDVC.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
