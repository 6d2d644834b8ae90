"""What records show, drawn from them alone: tables, figures, verdicts, ledger, league, lengths and the report."""
