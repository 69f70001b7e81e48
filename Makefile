# Each command does its own set-up in .venv. A sourced ROS 2 workspace would mix its libraries with those in .venv, hence `unexport`.
unexport PYTHONPATH PYTHONHOME AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH LD_LIBRARY_PATH ROS_DISTRO _ROS_WHEELS_BOOTSTRAP_COMPLETE
BIN := .venv/bin
SEED ?= 0

.PHONY: help setup demo test lint bench docs clean

help:  ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1	/' | expand -t 16

setup:  ## install everything into .venv (done by the others on their own)
	@sh tools/setup.sh

demo: setup  ## one simulated insertion over ROS 2, headless; results in runs/ (SEED=3 for another scene)
	@$(BIN)/uma demo --seed $(SEED)

test: setup  ## the whole test suite: what runs in real time by itself, then the rest on two processes, the longest files first
	@$(BIN)/python -m pytest test/ros; first=$$?; $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder test/integration test/property test/unit && exit $$first

lint: setup  ## ruff: rules and format; mypy: types of uma
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

bench: setup  ## latency of the policy on this machine
	@$(BIN)/python bench/latency.py

docs: setup  ## the documentation as HTML in build/docs
	@$(BIN)/sphinx-build -W --keep-going -q -b html doc build/docs && echo build/docs/index.html

clean:  ## remove .venv and build outputs; runs/ stays
	rm -rf .venv build install log doc/generated *.egg-info
