"""Effective lengths: `measuring` takes trained members to long sequences, `effective` says how far each one holds."""
