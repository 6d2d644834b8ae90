"""The report of a profile: everything its records show on one HTML page that needs nothing but a browser.

`content` and `sections` choose what stands on the page, `page` makes it HTML, `alt` has the figures' alternative texts,
`provenance` says where the numbers come from, `reproduction` how to reproduce them; `wandb_summary` logs all to W&B.
"""
