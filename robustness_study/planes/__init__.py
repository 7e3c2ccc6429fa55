"""UMAP planes of features."""
