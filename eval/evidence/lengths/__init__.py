"""Effective lengths: `plan` and `measuring` take trained members to long sequences, `effective` says how far each one
holds, `tables` and `figure` show it."""
