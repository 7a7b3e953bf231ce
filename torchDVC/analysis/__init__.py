"""What comes after a run: result tables, anchors, BD-rates, summaries, the report page."""
