"""What every process of `tests.faults.command` has imported when it is forked."""

import gc
import importlib
import os

# A process with threads cannot be forked safely: no library may start some.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

for name in (
    "cli.app",
    "cli.main",
    "conf.compose",
    "eval.evidence.report.page",
    "eval.evidence.table1_tables",
    "eval.evidence.verdict.tables",
    "eval.running.evaluation",
    "eval.running.request",
    "eval.running.sweep",
    "eval.running.training",
    "torch._dynamo",  # which the first optimiser of a process imports
):
    importlib.import_module(name)
gc.collect()
gc.freeze()  # what all of them share is never looked through again
