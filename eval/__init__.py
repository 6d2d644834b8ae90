"""Measuring trained members, the record store, and the tables and figures drawn from records alone."""
