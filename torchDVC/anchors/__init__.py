"""Conventional encoders, run on the clips of a test in settings that match it."""
