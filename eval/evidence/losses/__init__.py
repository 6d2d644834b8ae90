"""What the records of a text show: losses of every encoding, which of a pair is lower, and loss against position."""
