"""The testing engine behind ``tester.py``."""
