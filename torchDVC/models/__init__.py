"""Codec: assembles the modules of a model csv and runs mode strings."""
