"""Figures and tables of language models, from records alone."""
