"""The container, and coding of real files: what `codec.py` and `tester.py --write_stream` run."""
