"""A page of results that needs nothing else."""
