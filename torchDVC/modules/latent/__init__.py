"""Codecs of latents, which coding modules use."""
