"""The same trainings, measured in two places: how far apart they end."""
