"""The library that the stages use: one package per subject. No package imports one of a higher layer."""
