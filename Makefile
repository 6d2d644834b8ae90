# Every goal sets up what it needs by itself: `make test` and `make reproduce-table1` are one command on a fresh machine.

# How large: quick (minutes without a GPU, smaller than the paper), narrow (two hours without a GPU) or paper (the
# published sizes, for a GPU). Left empty: quick, but for reproduce-table1 with a GPU paper.
PROFILE ?=
# TORCH=cpu asks PyTorch's own index for the CPU build; by default pip or uv takes what it finds.
TORCH ?=
# The first Python on the path that is new enough.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v "$$p" && break; done)

# Where reproduce-table1, figure3 and report write: git ignores it, so they never change the committed results, which
# the README shows and the tests read. RESULTS=results writes into those.
RESULTS ?= results/reproduced

VENV := .venv
STAMP := $(VENV)/.stamp
CHOSEN := $(or $(PROFILE),quick)
MADE := $(RESULTS)/$(CHOSEN)
# Working files, which git ignores, lie where every posgen command looks for them: posgen status, posgen evaluate.
WORKING := paths.runs=results/runs paths.data=results/data tracker.directory=results/wandb
# cuda where torch sees a GPU, else cpu
DEVICE = $(shell $(VENV)/bin/python -c 'import torch; print("cuda" if torch.cuda.is_available() else "cpu")')

.DEFAULT_GOAL := help
.PHONY: help setup test test-slow reliability lint generate reproduce-table1 reproduce-figure4 figure3 figure4-llm report report-check bench

help: ## list the goals
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-19s%s\n", $$1, $$2}' Makefile
	@echo "Settings: PROFILE=quick|narrow|paper, TORCH=cpu, PYTHON=/path/to/python3.11 or later, RESULTS=folder"

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

test-slow: $(STAMP) ## run the slow proofs: every language model class of transformers, thousands of hostile inputs, every fault at every moment
	@OMP_NUM_THREADS=1 TRANSFORMERS_VERBOSITY=error $(VENV)/bin/python -m pytest -m slow -s

reliability: $(STAMP) ## an unattended sweep with a fault every three minutes must equal an undisturbed one: MINUTES=60
	@OMP_NUM_THREADS=1 $(VENV)/bin/python -m tests.faults.long_sweep --minutes $(or $(MINUTES),60) --every 180

lint: $(STAMP) ## check style, formatting and types
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/mypy

generate: $(STAMP) ## write the benchmark's data for all three tasks below results/data
	@$(VENV)/bin/posgen generate --task all --profile $(CHOSEN)

reproduce-table1: $(STAMP) ## train what Table 1 needs, show and judge it, draw all pictures and a page; safe to interrupt
	@device=$(DEVICE); profile=$(PROFILE); \
	if [ -z "$$profile" ] && [ "$$device" = cuda ]; then profile=paper; fi; \
	if [ -z "$$profile" ]; then profile=quick; echo "No GPU here, so this is profile quick: smaller than the paper's," \
		"about ten minutes on 2 cores. PROFILE=paper insists on the published sizes (how long that takes:" \
		"posgen sweep --profile paper --dry-run)."; fi; \
	made=$(RESULTS)/$$profile; records=$$made/records.jsonl; committed=results/$$profile/records.jsonl; \
	$(VENV)/bin/posgen sweep --profile $$profile --device $$device paths.results=$(RESULTS) $(WORKING) && \
	$(VENV)/bin/posgen table1 --records $$records --format all --out $$made && \
	$(VENV)/bin/posgen verdict --records $$records --format all --out $$made && \
	for picture in figure3 positions curves gap; do \
		$(VENV)/bin/posgen $$picture --records $$records --out $$made || exit 1; done && \
	$(VENV)/bin/posgen report --profile $$profile paths.results=$(RESULTS) && \
	echo && echo "Table 1 is in $$made/table1.md, the verdicts, pictures and report.html beside it." && \
	if [ $(RESULTS) != results ] && [ $$profile != paper ] && [ -e $$committed ]; then \
		echo "Beside the committed trainings: $(VENV)/bin/posgen compare $$committed $$records"; fi

# PROFILE=text is the larger one, about three hours on 2 cores.
reproduce-figure4: $(STAMP) ## train a small language model with each encoding on plays, draw its loss by position; safe to interrupt
	@profile=$(or $(PROFILE),text_quick); made=$(RESULTS)/$$profile; records=$$made/records.jsonl; \
	if [ -z "$(PROFILE)" ]; then echo "This is profile text_quick: a very small model, about twenty minutes on 2 cores." \
		"PROFILE=text is the larger one (how long that takes: posgen sweep --profile text --dry-run)."; fi; \
	$(VENV)/bin/posgen llm prepare --texts && \
	$(VENV)/bin/posgen sweep --profile $$profile --device $(DEVICE) paths.results=$(RESULTS) $(WORKING) && \
	$(VENV)/bin/posgen table1 --records $$records --format all --out $$made && \
	$(VENV)/bin/posgen figure4 --records $$records --out $$made && \
	$(VENV)/bin/posgen report --profile $$profile paths.results=$(RESULTS) && \
	echo && echo "Losses and verdicts are in $$made/losses.md, figure4-*.png and report.html beside it."

# From one's own records where there are some, else from the committed ones.
figure3: $(STAMP) ## draw Figure 3 again from the records, without training
	@if [ -e $(MADE)/records.jsonl ]; then own="--records $(MADE)/records.jsonl"; fi; \
	$(VENV)/bin/posgen figure3 --profile $(CHOSEN) $$own --out $(MADE)

# Fetches the model and the plays, measures what is left, draws what is there; hours, and interrupted it goes on.
figure4-llm: $(STAMP) ## measure Figure 4 on a small language model and draw it: hours on two cores, safe to interrupt
	@$(VENV)/bin/posgen llm prepare && $(VENV)/bin/posgen llm perplexity --plan figure4 && \
	$(VENV)/bin/posgen llm figure4 --profile figure4

report: $(STAMP) ## write one page with all results from the records, without training
	@if [ -e $(MADE)/records.jsonl ]; then own="paths.results=$(RESULTS)"; fi; \
	$(VENV)/bin/posgen report --profile $(CHOSEN) $$own --out $(MADE)/report.html

report-check: $(STAMP) ## look at that page in a real browser (Chromium or Chrome), which must be installed
	@OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -m browser tests/browser

bench: $(STAMP) ## measure how fast this machine trains
	@$(VENV)/bin/posgen bench step
