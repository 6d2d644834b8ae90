"""`python -m posgen VERB ...` is `posgen VERB ...`. By name: this package imports nothing of the command line's."""

import runpy

runpy.run_module("cli.main", run_name="__main__")
