# Each command does its own set-up in .venv. A sourced ROS 2 workspace would mix its libraries with those in .venv, hence `unexport`.
unexport PYTHONPATH PYTHONHOME AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH LD_LIBRARY_PATH ROS_DISTRO _ROS_WHEELS_BOOTSTRAP_COMPLETE
BIN := .venv/bin
SEED ?= 0
# Live graphs run in real time and by themselves, the rest on two processes, whole files to one process.
TWO := -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: help setup demo test test-all lint bench docs clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1	/' | expand -t 16

setup:  ## install everything into .venv (done by the others on their own)
	@sh tools/setup.sh

demo: setup  ## one simulated insertion over ROS 2, headless; results in runs/ (SEED=3 for another scene)
	@$(BIN)/uma demo --seed $(SEED)

test: setup  ## unit and property tests and one live graph: at most five minutes on two cores
	@$(BIN)/python -m pytest -m "not slow" test/ros; first=$$?; $(BIN)/python -m pytest -m "not slow" $(TWO) test/property test/unit && exit $$first

test-all: setup  ## exactly the tests that `make test` leaves out: slow ones, integration, the other live graphs, GPU
	@$(BIN)/python -m pytest -m slow test/ros; first=$$?; $(BIN)/python -m pytest -m slow $(TWO) test/integration test/gpu test/property test/unit && exit $$first

lint: setup  ## ruff: rules and format; mypy: types of uma and uma_train/jobs
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

bench: setup  ## latency of the policy on this machine
	@$(BIN)/python bench/latency.py

docs: setup  ## the documentation as HTML in build/docs
	@$(BIN)/sphinx-build -W --keep-going -q -b html doc build/docs && echo build/docs/index.html

clean:  ## remove .venv and build outputs; runs/ stays
	rm -rf .venv build install log doc/generated *.egg-info
