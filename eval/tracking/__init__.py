"""Telling a tracker about trainings: `tracker` is the interface, `to_wandb` the one tracker, `summary` its last run."""
