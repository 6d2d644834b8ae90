"""What a task asks, for readers: `words` says it in a sentence, `tables` lists it, `numbers` writes it for programs."""
