"""Result files and what is worked out from them: conditions, metrics, BD-rates, summaries, complexity."""
