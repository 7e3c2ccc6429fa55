"""Attacks on a classifier: one file for each, listed in catalogue.py, and the alarms that say when to doubt them.

Images are float32 in [0, 1], N×3×H×W; normalisation is inside the model. An attack is given a function from images to
logits N×classes, in evaluation mode, and the true labels, int64 N: attacking the predicted label would leak it (Kurakin
et al. 2017, arXiv 1611.01236). Epsilon, the largest change of a value, is in grey levels: n means n/255.

This file, catalogue.py and alarms.py import no torch, because `check` and the report read them.
"""
