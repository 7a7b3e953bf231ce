"""The networks and coding modules that a model csv may name, one a file; their types are listed by `advance_modules`."""
