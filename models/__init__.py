"""Position encodings, the T5-style decoder, and the population that trains many of them at once."""
