"""Scalings of the rotary frequencies, one file each; the file's name is the scaling's name in conf/pe."""
