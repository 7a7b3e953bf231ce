"""Symbol streams, priors, integer networks, tables and the entropy coder."""
