"""The Square attack (Andriushchenko et al. 2020, arXiv 1912.00049), which asks for logits alone: no gradient to mask.

The version for the largest change of a value, untargeted: it starts from vertical stripes of ±epsilon, then tries one
square at a time, smaller ones later, and keeps it where the margin of the right class falls. An image's draws depend
on its index and the seed, and not on the other images of the batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from robustness_study.attacks.ball import assert_within
from robustness_study.attacks.catalogue import Square
from robustness_study.attacks.scoring import Found, Logits
from robustness_study.attacks.subject import ModelUnderAttack
from robustness_study.core.seeds import streams

FIRST_SHARE = 0.8  # of the image, that the first squares cover; as in AutoAttack (Croce & Hein 2020, 2003.01690)
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # of the share, in queries of 10,000


def side_of_square(query: int, queries: int, side: int) -> int:
    """The side, in pixels, of the square that a query tries; queries are counted from 1."""
    halved = sum(query * 10_000 > limit * queries for limit in HALVINGS)
    return max(1, min(side, round((FIRST_SHARE / 2**halved) ** 0.5 * side)))


@torch.no_grad()
def margins(logits: Logits, images: Tensor, labels: Tensor) -> Tensor:
    """How far the logit of the right class is above the largest other, N; negative where the image is wrong."""
    of_each = logits(images)
    right = of_each.gather(1, labels[:, None])[:, 0]
    return right - of_each.scatter(1, labels[:, None], -torch.inf).amax(1)


@torch.no_grad()
def square(
    logits: Logits,
    images: Tensor,
    labels: Tensor,
    epsilon_255: int,
    queries: int,
    indices: Sequence[int] | np.ndarray,
    seed: int,
) -> Tensor:
    """The attacked images, after at most so many queries each; square images, the first query is of the stripes.

    Raises StudyError if the result leaves the ball or the range.
    """
    _, channels, side, _ = images.shape
    stripes, corners, signs = _draws(indices, queries, channels, side, seed)
    epsilon, device = epsilon_255 / 255, images.device
    attacked = (images + epsilon * stripes.to(device)[:, :, None, :]).clamp(0, 1)
    margin = margins(logits, attacked, labels)
    places = torch.arange(side, device=device)
    for query in range(1, queries):
        left = (margin >= 0).nonzero()[:, 0]  # still right, or undecided: of equal logits the first is taken
        if not len(left):
            break
        size = side_of_square(query, queries, side)
        of_left = left.cpu()
        corner = (corners[of_left, query] * (side - size + 1)).long().to(device)  # rows and columns, n×2
        rows, columns = ((places >= corner[:, axis, None]) & (places < corner[:, axis, None] + size) for axis in (0, 1))
        inside = rows[:, None, :, None] & columns[:, None, None, :]
        moved = (images[left] + epsilon * signs[of_left, query].to(device)[:, :, None, None]).clamp(0, 1)
        tried = torch.where(inside, moved, attacked[left])
        found = margins(logits, tried, labels[left])
        better = found < margin[left]
        attacked[left[better]], margin[left[better]] = tried[better], found[better]
    assert_within(images, attacked, epsilon_255)
    return attacked


def _draws(
    indices: Sequence[int] | np.ndarray, queries: int, channels: int, side: int, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Signs of the stripes N×C×W, corners in [0, 1) N×queries×2, signs of the squares N×queries×C."""
    stripes, corners, signs = [], [], []
    for rng in streams(indices, seed, "square"):
        stripes.append(rng.choice((-1.0, 1.0), (channels, side)))
        corners.append(rng.random((queries, 2)))
        signs.append(rng.choice((-1.0, 1.0), (queries, channels)))
    first, second, third = (torch.from_numpy(np.stack(drawn).astype(np.float32)) for drawn in (stripes, corners, signs))
    return first, second, third


def run(subject: ModelUnderAttack, settings: Square) -> dict[str, Found]:
    """`square`, on some of PGD's images, or of all if PGD has not run. An image wrong without an attack stays so.

    Raises StudyError if a moved image is out of bounds.
    """
    among = subject.found["pgd"].positions if "pgd" in subject.found else None
    positions = subject.chosen(settings.images, "square", among)
    predicted = subject.clean[positions].copy()
    left = np.flatnonzero(predicted == subject.labels[positions])
    for start in range(0, len(left), subject.common.batch_size):
        some = left[start : start + subject.common.batch_size]
        target = subject.target.of(positions[some])
        attacked = square(
            subject.logits,
            target.images,
            target.labels,
            settings.epsilon_255,
            settings.queries,
            target.indices,
            subject.common.seed,
        )
        predicted[some] = subject.predict(attacked)
    return {"square": Found(positions, {settings.epsilon_255: predicted}, {"queries": settings.queries})}
