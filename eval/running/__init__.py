"""From a plan to records: populations, trainings, trackers, and the sweep that does each of them once."""
