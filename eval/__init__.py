"""Everything around a training: `store` keeps it, `measuring` measures it, `running` runs it, `evidence` shows it."""
