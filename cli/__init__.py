"""The `posgen` command: one small file a verb."""
