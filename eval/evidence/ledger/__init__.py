"""The ledger of differences between text and code (conf.ledger): `effects` measures what each row does, `tables` and
`heatmap` show it."""
