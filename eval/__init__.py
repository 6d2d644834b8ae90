"""Training and measuring members, the record store, and the tables and figures drawn from records alone."""
