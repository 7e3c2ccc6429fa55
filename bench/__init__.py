"""Benchmarks of speed and accuracy, each compared with a reference in the same run; see `make bench`."""
