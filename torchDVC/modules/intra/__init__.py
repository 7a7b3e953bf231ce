"""Intra codecs: a frame on its own."""
