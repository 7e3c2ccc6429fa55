"""The image explorer: what corruptions and attacks do to test images, and what each model then says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from robustness_study.core.errors import StudyError
from robustness_study.core.files import content_digest
from robustness_study.core.subsets import stratified
from robustness_study.corruptions import SEVERITIES
from robustness_study.results.cell_results import decoded
from robustness_study.schema.attack import HEADLINE_EPSILONS_255
from robustness_study.webpage.packed import packed, sheet, thumbnails
from robustness_study.webpage.shown import Shown

SHOWN_SEVERITIES = SEVERITIES[::2]
FEWEST_IMAGES, MOST_IMAGES = 60, 200
SIDES = (64, 48, 32)  # pixels; images are shown at most so wide: the first width at which `FEWEST_IMAGES` fit
ROOM = 6_000_000  # characters of the file for corrupted images and signs
SAMPLE = 20  # images by which the size of all is estimated
SCALE = 100  # the signs of a gradient are stored times this: those of a smaller picture are means

# Name of a corruption, and positions among the suite's images → these images, uint8 severities×n×S×S×3.
Copies = Callable[[str, np.ndarray], np.ndarray]


def content(images: np.ndarray, labels: np.ndarray, models: Sequence[Shown], copies: Copies) -> dict[str, Any]:
    """What the explorer shows. `images`, uint8 N×S×S×3, and `labels`, N, are all test images.

    It shows images that the suite has corrupted and that were attacked, with classes in proportion: as many as fit.
    """
    first = models[0]
    suite, attacked = decoded(first.result.stress.test_indices), first.attacked["test_indices"]
    names = list(first.result.stress.by_corruption)
    both = np.intersect1d(suite, attacked)
    if not len(both):
        return {"count": 0, "of": 0}

    def shown(positions: np.ndarray, side: int) -> tuple[list[str], dict[str, Any]]:
        """The sheets of these test images, by corruption and severity, and the signs of all models."""
        in_suite, in_attack = np.searchsorted(suite, positions), np.searchsorted(attacked, positions)
        signs = [thumbnails(_last_channel(model.attacked["signs"][in_attack]), side) for model in models]
        return _sheets(copies, names, in_suite, side), packed(np.rint(np.stack(signs) * SCALE).astype(np.int8))

    sample = both[stratified(labels[both], SAMPLE, 0, "explorer")]
    for side in SIDES:
        sheets, signs = shown(sample, side)
        count = int(ROOM * len(sample) / (sum(map(len, sheets)) + len(signs["data"])))
        if count >= FEWEST_IMAGES:
            break
    chosen = both[stratified(labels[both], max(1, min(MOST_IMAGES, count)), 0, "explorer")]
    in_suite, in_attack = np.searchsorted(suite, chosen), np.searchsorted(attacked, chosen)
    sheets, signs = shown(chosen, side)
    rest = iter(sheets)
    return {
        "count": len(chosen),
        "of": len(both),
        "side": signs["shape"][2],
        "whole_side": images.shape[1],
        "labels": packed(labels[chosen].astype(np.uint16)),
        "indices": packed(chosen.astype(np.uint32)),
        "clean": {
            "sheet": sheet(thumbnails(images[chosen], side), exact=True),
            "said": _packed([model.result.predictions("test_clean")[1][chosen] for model in models]),
            "percent": _percent([_confidence(model.logits["clean"][chosen]) for model in models]),
        },
        "corruptions": [
            {
                "name": name,
                "sheets": [next(rest) for _ in SHOWN_SEVERITIES],
                "said": _packed(
                    [[_said(model, name, severity)[in_suite] for severity in SHOWN_SEVERITIES] for model in models]
                ),
                "percent": _percent([model.stressed[name][::2, in_suite] for model in models]),
            }
            for name in names
        ],
        "severities": list(SHOWN_SEVERITIES),
        "attack": {
            "epsilons_255": list(HEADLINE_EPSILONS_255),
            "scale": SCALE,
            "signs": signs,
            "said": _packed(
                [[_under_fgsm(model, size)[in_attack] for size in HEADLINE_EPSILONS_255] for model in models]
            ),
            "percent": _percent([model.attacked["confidences"][:, in_attack] for model in models]),
        },
    }


def refuse_other_copies(model: Shown, digests: dict[str, str]) -> None:
    """Raise StudyError unless the suite's images have the digests of those that the model was scored on.

    `digests` are those of the images of each corruption.
    """
    if content_digest(digests) != model.result.stress.copies:
        raise StudyError(
            f"the images in data/suite are not those that {model.result.cell.key} was scored on; run `dvc repro`, or "
            "`dvc checkout` to restore them"
        )


def _sheets(copies: Copies, names: Iterable[str], positions: np.ndarray, side: int) -> list[str]:
    """The sheets of these images of the suite, by corruption and shown severity."""
    found = []
    for name in names:
        of_name = copies(name, positions)
        found += [sheet(thumbnails(of_name[severity - 1], side)) for severity in SHOWN_SEVERITIES]
    return found


def _said(model: Shown, corruption: str, severity: int) -> np.ndarray:
    """The labels that the model predicts for the images of the suite."""
    return decoded(model.result.stress.predictions[corruption][severity - 1])


def _under_fgsm(model: Shown, epsilon_255: int) -> np.ndarray:
    """The labels that the model predicts for the attacked images."""
    return model.result.attacked("fgsm", epsilon_255)[1]


def _confidence(logits: np.ndarray) -> np.ndarray:
    """The largest probability of the softmax, N, of logits N×classes."""
    return 1 / np.exp(logits - logits.max(1, keepdims=True)).sum(1)


def _last_channel(images: np.ndarray) -> np.ndarray:
    """Images N×3×S×S as float32 N×S×S×3."""
    return images.transpose(0, 2, 3, 1).astype(np.float32)


def _packed(labels: Any) -> dict[str, Any]:
    return packed(np.array(labels).astype(np.uint16))


def _percent(shares: Any) -> dict[str, Any]:
    return packed(np.rint(100 * np.array(shares, dtype=np.float64)).astype(np.uint8))
