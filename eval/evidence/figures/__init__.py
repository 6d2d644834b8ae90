"""Figures from records: losses by epoch, accuracy and feature gap by position, wavelengths.

A module collects the numbers of its figure, draws them, and returns them as a table for a CSV; `panels` and `style` are
what all figures share, those of the ledger, the league and the lengths too.
"""
