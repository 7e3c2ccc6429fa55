"""The Square attack (Andriushchenko et al. 2020, arXiv 1912.00049): it uses logits only, so it needs no gradient.

This is the untargeted L∞ version. It starts from vertical stripes of ±epsilon. Then each query changes one square, and
later squares are smaller. A change is kept if the margin of the true class falls. The random numbers of an image depend
only on its index and the seed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from robustness_study.attacks.ball import assert_within
from robustness_study.attacks.outcome import Found
from robustness_study.attacks.scoring import Logits
from robustness_study.attacks.settings import Square
from robustness_study.attacks.subject import ModelUnderAttack
from robustness_study.classifier.batches import each_batch
from robustness_study.core.seeds import streams

FIRST_SHARE = 0.8  # share of the image in the first squares; as in AutoAttack (Croce & Hein 2020, arXiv 2003.01690)
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # after these queries, of 10,000, the share is halved


def side_of_square(query: int, queries: int, side: int) -> int:
    """The width, in pixels, of the square that a query tries. Queries count from 1; `side` is the image's width."""
    halved = sum(query * 10_000 > limit * queries for limit in HALVINGS)
    return max(1, min(side, round((FIRST_SHARE / 2**halved) ** 0.5 * side)))


@torch.no_grad()
def margins(logits: Logits, images: Tensor, labels: Tensor) -> Tensor:
    """The logit of the true class minus the largest other logit, N; it is negative where the prediction is wrong."""
    every = logits(images)
    true = every.gather(1, labels[:, None])[:, 0]
    return true - every.scatter(1, labels[:, None], -torch.inf).amax(1)


def judged(guide: Logits, judge: Logits, images: Tensor, labels: Tensor) -> Tensor:
    """The margins, N, by `guide`; by `judge`, which is exact, where the guide's prediction is wrong."""
    found = margins(guide, images, labels)
    wrong = (found < 0).nonzero()[:, 0]
    if judge is not guide and len(wrong):
        found[wrong] = margins(judge, images[wrong], labels[wrong])
    return found


@torch.no_grad()
def square(
    guide: Logits,
    images: Tensor,
    labels: Tensor,
    epsilon_255: int,
    queries: int,
    indices: Sequence[int] | np.ndarray,
    seed: int,
    judge: Logits | None = None,
) -> Tensor:
    """The attacked images, N×3×H×W, after at most `queries` queries each. The first query tries the stripes.

    Images are float32 in [0, 1] and as high as wide; `labels`, int64 N, are the true ones. `indices`, N, and `seed`
    decide the random numbers. `guide` gives the logits. It may be less exact than `judge`, which then looks at the
    images that the guide finds wrong: only those that it finds wrong as well get no more queries. Raises StudyError if
    the result is out of bounds.
    """
    judge = judge or guide
    _, channels, side, _ = images.shape
    stripes, corners, signs = _draws(indices, queries, channels, side, seed)
    epsilon, device = epsilon_255 / 255, images.device
    attacked = (images + epsilon * stripes.to(device)[:, :, None, :]).clamp(0, 1)
    margin = judged(guide, judge, attacked, labels)
    places = torch.arange(side, device=device)
    for query in range(1, queries):
        # An image with a margin of 0 may still be correct: of equal logits, the first is the prediction.
        remaining = (margin >= 0).nonzero()[:, 0]
        if not len(remaining):
            break
        size = side_of_square(query, queries, side)
        on_cpu = remaining.cpu()
        corner = (corners[on_cpu, query] * (side - size + 1)).long().to(device)  # rows and columns, n×2
        rows, columns = ((places >= corner[:, axis, None]) & (places < corner[:, axis, None] + size) for axis in (0, 1))
        inside = rows[:, None, :, None] & columns[:, None, None, :]
        moved = (images[remaining] + epsilon * signs[on_cpu, query].to(device)[:, :, None, None]).clamp(0, 1)
        tried = torch.where(inside, moved, attacked[remaining])
        found = judged(guide, judge, tried, labels[remaining])
        better = found < margin[remaining]
        attacked[remaining[better]], margin[remaining[better]] = tried[better], found[better]
    assert_within(images, attacked, epsilon_255)
    return attacked


def _draws(
    indices: Sequence[int] | np.ndarray, queries: int, channels: int, side: int, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Random numbers: signs of the stripes N×C×W, corners in [0, 1) N×queries×2, signs of the squares N×queries×C."""
    stripes, corners, signs = [], [], []
    for rng in streams(indices, seed, "square"):
        stripes.append(rng.choice((-1.0, 1.0), (channels, side)))
        corners.append(rng.random((queries, 2)))
        signs.append(rng.choice((-1.0, 1.0), (queries, channels)))
    first, second, third = (torch.from_numpy(np.stack(drawn).astype(np.float32)) for drawn in (stripes, corners, signs))
    return first, second, third


def run(subject: ModelUnderAttack, settings: Square) -> dict[str, Found]:
    """Return the result `square`: what APGD left and Square then made wrong, together. Without APGD, all images.

    An image that is wrong without an attack, or under APGD, keeps that label. Raises StudyError if an attacked image is
    out of bounds.
    """
    positions, apgd = subject.chosen(settings.images), subject.found.get("apgd")
    predicted = subject.clean[positions].copy()
    if apgd is not None:
        positions = np.intersect1d(positions, apgd.positions)
        predicted = apgd.of(positions)[settings.epsilon_255].copy()
    remaining = np.flatnonzero(predicted == subject.labels[positions])

    def of_batch(batch: slice) -> None:
        some = remaining[batch]
        target = subject.target.of(positions[some])
        attacked = square(
            subject.guide,
            target.images,
            target.labels,
            settings.epsilon_255,
            settings.queries,
            target.indices,
            subject.common.seed,
            subject.logits,
        )
        predicted[some] = subject.predict(attacked)

    each_batch(of_batch, len(remaining), subject.common.batch_size, subject.device)
    return {"square": Found(positions, {settings.epsilon_255: predicted}, {"queries": settings.queries})}
