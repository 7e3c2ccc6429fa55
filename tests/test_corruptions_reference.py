"""Agreement with CIFAR-10-C's own generator, on CIFAR-10's images.

`cifar10c_reference.csv` holds how much the published generator changed the first 500 official test images (output
rounded to uint8): see the columns in `measure`. The images are in no repository, so the table is compared where
`dvc repro download` has put them; everywhere else, values are pinned for images with the statistics of photographs.
They were recorded when the table agreed.
"""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest
from natural_images import natural_images

from robustness_study.corruptions import CIFAR_10_C, HELD_OUT, corrupt

HERE = Path(__file__).parent
BENCHMARK = (*CIFAR_10_C, *HELD_OUT)
RAW = HERE.parent / "data/raw/test.npz"
# SHA-256 of the first 500 official test images.
OFFICIAL = "8f2427926825821b6e0de483aa537ca1419ff2a5b82cc5e436d5dfc50e85cc7a"
NAMES = ("mean_abs_change", "rms_change", "mean_shift", "contrast_ratio", "gradient_ratio")
# The largest relative difference of any value except the shift, rounded up. Random corruptions vary more.
TOLERANCE = {
    "impulse_noise": 0.03,
    "elastic_transform": 0.03,
    "motion_blur": 0.015,
    "fog": 0.015,
    "frost": 0.03,
    "snow": 0.012,
    "spatter": 0.035,
}
OTHERS = 0.01
SHIFT = 0.6  # grey levels


def measure(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """The table's columns: changes in grey levels, contrast and gradients as ratios, after over before."""
    old, new = before.astype(np.float64), after.astype(np.float64)

    def contrast(images: np.ndarray) -> float:
        return images.reshape(len(images), -1).std(1).mean()

    def gradient(images: np.ndarray) -> float:
        return np.abs(np.diff(images, axis=1)).mean() + np.abs(np.diff(images, axis=2)).mean()

    change = new - old
    figures = (
        np.abs(change).mean(),
        np.sqrt((change**2).mean()),
        change.mean(),
        contrast(new) / contrast(old),
        gradient(new) / gradient(old),
    )
    return {name: float(figure) for name, figure in zip(NAMES, figures, strict=True)}


def table(name: str) -> dict[tuple[str, int], dict[str, float]]:
    with (HERE / name).open(encoding="utf-8", newline="") as file:
        return {
            (row["corruption"], int(row["severity"])): {column: float(row[column]) for column in NAMES}
            for row in csv.DictReader(file)
        }


def official() -> np.ndarray | None:
    """The first 500 test images, if they are those that the table was measured on."""
    if not RAW.exists():
        return None
    with np.load(RAW) as archive:
        images: np.ndarray = archive["images"][:500]
    return images if hashlib.sha256(images.tobytes()).hexdigest() == OFFICIAL else None


def check(found: dict[str, float], expected: dict[str, float], tolerance: float, shift: float) -> None:
    for column in NAMES:
        if column == "mean_shift":
            assert found[column] == pytest.approx(expected[column], abs=shift), column
        else:
            assert found[column] == pytest.approx(expected[column], rel=tolerance, abs=0.0015), column


REFERENCE = table("cifar10c_reference.csv")
PINNED = table("corruptions_pinned.csv")


def test_tables_have_every_corruption() -> None:
    assert {name for name, _ in REFERENCE} == set(BENCHMARK) and len(REFERENCE) == 19 * 3
    assert set(PINNED) == {(name, severity) for name in BENCHMARK for severity in range(1, 6)}
    assert set(TOLERANCE) <= set(BENCHMARK)


@pytest.mark.skipif(official() is None, reason="needs the official images of CIFAR-10 in data/raw")
@pytest.mark.parametrize(("name", "severity"), REFERENCE)
def test_images_are_changed_as_much_as_by_the_published_generator(name: str, severity: int) -> None:
    images = official()
    assert images is not None
    found = measure(images, corrupt(images, name, severity, seed=0, split="test"))
    check(found, REFERENCE[name, severity], TOLERANCE.get(name, OTHERS), SHIFT)


@pytest.mark.parametrize(("name", "severity"), PINNED)
def test_images_are_changed_as_much_as_recorded_when_the_table_agreed(name: str, severity: int) -> None:
    images = natural_images(60)
    check(measure(images, corrupt(images, name, severity, seed=0, split="test")), PINNED[name, severity], 0.002, 0.02)
