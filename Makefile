# Every goal sets up what it needs by itself: `make test` and `make reproduce-table1` are one command on a fresh machine.

# How large: quick (minutes without a GPU, smaller than the paper) or paper (the published sizes, for a GPU).
PROFILE ?= quick
# TORCH=cpu asks PyTorch's own index for the CPU build; by default pip or uv takes what it finds.
TORCH ?=
# The first Python on the path that is new enough.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v "$$p" && break; done)

VENV := .venv
STAMP := $(VENV)/.stamp
RESULTS := results/$(PROFILE)

.DEFAULT_GOAL := help
.PHONY: help setup test lint generate reproduce-table1 figure3 bench

help: ## list the goals
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-18s%s\n", $$1, $$2}' Makefile
	@echo "Settings: PROFILE=quick|paper (now $(PROFILE)), TORCH=cpu, PYTHON=/path/to/python3.11 or later"

setup: $(STAMP) ## make .venv with posgen and its tools, with uv if there is one, else with pip

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "posgen needs Python 3.11 or later: make setup PYTHON=/path/to/python" >&2; exit 1; }
	@echo "Setting up $(VENV) with $(PYTHON); this happens once and takes a minute or two."
	@if command -v uv >/dev/null; then \
		uv venv --quiet --allow-existing --python "$(PYTHON)" $(VENV) && \
		uv pip install --quiet --python $(VENV)/bin/python $(if $(TORCH),--torch-backend "$(TORCH)") \
			$${PIP_FIND_LINKS:+--find-links "$$PIP_FIND_LINKS"} --constraint constraints.txt --editable '.[dev]'; \
	else \
		"$(PYTHON)" -m venv $(VENV) && \
		$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
			$(if $(TORCH),--extra-index-url "https://download.pytorch.org/whl/$(TORCH)") \
			--constraint constraints.txt --editable '.[dev]'; \
	fi
	@touch $@

test: $(STAMP) ## run the tests
	@OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2

lint: $(STAMP) ## check style, formatting and types
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/mypy

generate: $(STAMP) ## write the benchmark's data for all three tasks below results/data
	@$(VENV)/bin/posgen generate --task all --profile $(PROFILE)

reproduce-table1: $(STAMP) ## train what Table 1 needs, then show it and draw Figure 3; safe to repeat and to interrupt
	@echo "Profile $(PROFILE) (quick is for machines without a GPU; PROFILE=paper is the published sizes)."
	@$(VENV)/bin/posgen sweep --profile $(PROFILE)
	@$(VENV)/bin/posgen table1 --profile $(PROFILE) --format all --out $(RESULTS)
	@$(VENV)/bin/posgen figure3 --profile $(PROFILE) --out $(RESULTS)

figure3: $(STAMP) ## draw Figure 3 again from the records, without training
	@$(VENV)/bin/posgen figure3 --profile $(PROFILE) --out $(RESULTS)

bench: $(STAMP) ## measure how fast this machine trains
	@$(VENV)/bin/posgen bench
