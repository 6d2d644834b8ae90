"""Where records of language models lie below the folder of results; PosGen's have a folder for each profile."""

from __future__ import annotations

PERPLEXITY = "llm/records.jsonl"
TUNING = "llm/tuning.jsonl"
ANSWERS = "llm/leval/records.jsonl"
STANDARD_TASKS = "llm/harness/records.jsonl"
