"""Scores of a model: accuracies, calibration, and the angles between its features."""
