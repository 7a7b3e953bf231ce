"""Block-based coding in exact integers: transforms, predictions, adaptive contexts, and the encoder's search."""
