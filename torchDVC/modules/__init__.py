"""The networks and coding modules that a model csv may name, one a file; `advance_modules` lists their types."""
