"""Attacks on a classifier, on float32 images in [0, 1] with normalisation inside the model, and alarms that judge them.

Each takes a function from images N×3×H×W to logits N×classes, in evaluation mode, and true labels int64 N:
attacking the predicted label would leak it (Kurakin et al. 2017, arXiv 1611.01236). Epsilons are in grey
levels, n/255, of the largest change of a value.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Logits = Callable[[Tensor], Tensor]
