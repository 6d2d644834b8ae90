"""What is kept on disk: records of measurements, run folders, and where a number comes from."""
