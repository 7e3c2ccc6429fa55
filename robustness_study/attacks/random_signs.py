"""Random signs in place of the gradient's signs: noise of the same size.

An attack that does no better than noise has failed (Carlini et al. 2019, arXiv 1902.06705).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from robustness_study.attacks.outcome import Found
from robustness_study.attacks.settings import Settings
from robustness_study.attacks.subject import ModelUnderAttack
from robustness_study.core.seeds import streams


def random_signs(indices: Sequence[int] | np.ndarray, shape: Sequence[int], seed: int) -> Tensor:
    """Random signs, int8 N×shape in {−1, 1}, on the CPU. Those of an image depend only on its index and the seed."""
    drawn = [rng.integers(0, 2, tuple(shape), dtype=np.int8) for rng in streams(indices, seed, "random signs")]
    return torch.from_numpy(np.stack(drawn)) * 2 - 1


def run(subject: ModelUnderAttack, settings: Settings) -> dict[str, Found]:
    """Return the result `noise`, on the control images. Raises StudyError if an image is out of bounds."""
    target = subject.target.of(subject.control)
    signs = random_signs(target.indices, target.images.shape[1:], subject.common.seed).to(subject.device)
    return {"noise": Found(subject.control, subject.along(target, signs, subject.sizes))}
