"""Reads the results that the stages wrote for each model, and computes metrics and statistics from them."""
