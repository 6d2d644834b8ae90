"""Encodings that are not a scaling of RoPE, one file each; the file's name is the `kind` in conf/pe."""
