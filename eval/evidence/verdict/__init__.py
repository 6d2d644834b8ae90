"""Verdicts: cells against the paper, Resonance against its plain form, the paper's claims, by declared rules.

`judge` tests cells and pairs, `claims` the claims; `words` says what they mean, `tables` shows them.
"""
