"""The training engine behind ``trainer.py``."""
