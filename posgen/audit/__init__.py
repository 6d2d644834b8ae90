"""Which earlier tokens an answer of a task needs, exactly: `build` makes a source of tokens, `search` looks at it."""
