"""Training and test data: video readers and writers, procedural clips, cached training clips, named test sets."""
