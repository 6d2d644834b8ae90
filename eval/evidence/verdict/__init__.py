"""Verdicts: cells against the paper, Resonance against its plain form, the paper's claims, by declared rules.

`rules` reads conf/verdict.yaml, `cells`, `pairs` and `claims` judge, `judge` calls all three, `power` says what the
tests can find, `render`, `words` and `table` write it down.
"""
