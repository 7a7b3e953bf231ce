"""Codecs of what the prediction leaves."""
