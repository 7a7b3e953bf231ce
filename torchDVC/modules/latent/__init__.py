"""Latent codecs: what fills the ``latent`` of a coder's json, and codes what its analysis gives."""
