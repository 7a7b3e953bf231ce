"""Filters of decoded pictures, in the loop."""
