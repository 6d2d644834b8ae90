"""What the commands share: options, the choice of records, output, encodings by name."""
