"""The DVC command line: its yml and json files, translated into model table, stages and options of the same engine."""
