"""Faults of every kind, which `python -m bench.faults` injects into a tiny study."""
