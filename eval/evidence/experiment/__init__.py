"""Declared experiments, judged from records alone: effects, comparisons, verdicts, and what the seeds could find."""
