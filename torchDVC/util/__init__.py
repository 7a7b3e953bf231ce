"""What every part of the framework stands on: errors, files, configuration, checkpoints, metrics, colour, logging."""
