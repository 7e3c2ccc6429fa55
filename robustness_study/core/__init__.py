"""Basic tools that all packages use: errors, files, params, seeds, and the name of one model."""
