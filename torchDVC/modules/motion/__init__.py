"""Motion estimators and motion codecs."""
