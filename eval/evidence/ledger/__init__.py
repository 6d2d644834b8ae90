"""The ledger of differences between text and code: `rows` reads it, `effects` measures what each row does."""
