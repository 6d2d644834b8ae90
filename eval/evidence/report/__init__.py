"""The report of a profile: everything its records show on one HTML page that needs nothing but a browser.

`content` and `sections` choose what stands on the page, `page` makes it HTML, `svg` takes figures in, `alt` puts them
into words, `provenance` says where the numbers come from and `again` how to get them once more; `wandb_summary` puts
the page and its parts before those who look at W&B.
"""
