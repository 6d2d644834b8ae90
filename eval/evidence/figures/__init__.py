"""Curves and pictures from records: losses by epoch, accuracy and feature gap by position, wavelengths.

A module without `_draw` collects what a picture shows and needs no matplotlib; `panels` and `style` are what all
pictures share, those of the ledger, the league and the lengths too.
"""
