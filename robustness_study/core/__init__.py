"""What every package builds on: errors, files, params, seeds, one model's name."""
