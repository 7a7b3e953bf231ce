"""Motion compensators: a prediction from warped references."""
