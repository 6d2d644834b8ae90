"""Measuring language models: protocols, texts, losses, answers."""
