"""Codecs of what the prediction leaves, and of frames given their prediction."""
