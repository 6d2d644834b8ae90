"""Running language models: preparing, measuring, tuning, answering."""
