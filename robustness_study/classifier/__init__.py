"""A classifier: normalisation, a network, the head that its loss chose."""
