"""Attacks on a classifier: one file per attack, and the alarms that say when an attack's results cannot be trusted.

catalogue.py lists the attacks. Images are float32 in [0, 1], N×3×H×W. Normalisation is inside the model. An attack gets
a function from images to logits N×classes, with the model in evaluation mode, and the true labels, int64 N. It attacks
the true label, never the predicted one. (True labels leak only to a model that trains on attacked images; see Kurakin
et al. 2017, arXiv 1611.01236. No model here does.) Epsilon is the largest change of a value, in units of 1/255.

This file, catalogue.py and alarms.py import no torch, because `check` and the report read them.
"""
