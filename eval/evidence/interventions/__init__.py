"""What models do when one token that an answer depends on is exchanged: shares, tables and a figure, from records."""
