"""Compares three ways to test the difference of two sides that have two models each, such as two training sets.

`each model`: the variances of the four models are added, as if all moved independently. `sides`: the models of a side
are averaged for each seed, and the variances of both sides are added; this is what the report does. `seeds`: the
variance is that of the difference of each seed. Simulated studies have five seeds; numbers are in percentage points.
`python -m bench.contrasts` takes about a minute on one core and writes `bench/results/contrasts.json`; the table is on
`docs/statistics.md`.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bench import report
from robustness_study.core.files import write_json
from robustness_study.core.program import run
from robustness_study.core.seeds import derive_seed
from robustness_study.results.claims import CLAIMS
from robustness_study.results.families import LEVEL
from robustness_study.statistics import Error, satterthwaite

SEEDS, SPREAD = 5, 0.8
WAYS = ("each model", "sides", "seeds")
STRICTEST = LEVEL / len(CLAIMS)  # of Holm's levels


@dataclass(frozen=True)
class Truth:
    """What is true in the simulated studies."""

    points: float = 0.0  # the difference of the two sides
    of_side: float = 0.0  # the share of the variance between seeds that the models of a side have in common
    of_seed: float = 0.0  # the share that all four models of a seed have in common
    images: float = 0.35  # the standard error from the choice of images


TRUTHS = {
    "no difference": Truth(),
    "no difference, half of the variance common to a side": Truth(of_side=0.5),
    "no difference, 0.9 of it common to a side": Truth(of_side=0.9),
    "the same, without an error from images": Truth(of_side=0.9, images=0.0),
    "2 points": Truth(points=2.0),
    "2 points, half of the variance common to a seed": Truth(points=2.0, of_seed=0.5),
}


def accuracies(truth: Truth, rng: np.random.Generator) -> np.ndarray:
    """The accuracy of each model in points, relative to a mean: sides × models of a side × seeds."""
    own, of_side, of_seed = (rng.standard_normal(shape) for shape in ((2, 2, SEEDS), (2, 1, SEEDS), (1, 1, SEEDS)))
    own_share = 1 - truth.of_side - truth.of_seed
    moves = math.sqrt(own_share) * own + math.sqrt(truth.of_side) * of_side + math.sqrt(truth.of_seed) * of_seed
    return np.asarray(SPREAD * moves + truth.points * np.array([1.0, 0.0])[:, None, None])


def p_values(models: np.ndarray, images: float, error_of_images: float) -> list[float]:
    """The p-value of each of `WAYS`. `models` is what `accuracies` returns.

    `images` is the standard error from the choice of images, and `error_of_images` is one such error, both in points.
    """
    sides = models.mean(1)
    difference = sides[0] - sides[1]
    variances = (models.var(2, ddof=1).ravel() / 4, sides.var(1, ddof=1), difference.var(ddof=1, keepdims=True))
    return [
        Error(images, math.sqrt(of.sum() / SEEDS), satterthwaite(of.tolist(), SEEDS - 1)).p_value(
            float(difference.mean()) + error_of_images
        )
        for of in variances
    ]


def found(truth: Truth, tests: int, seed: int = 0) -> dict[str, float]:
    """For each way, the share of tests with a p-value below the strictest level."""
    rng = np.random.default_rng(derive_seed(seed, "contrasts", repr(truth)))
    values = [
        p_values(accuracies(truth, rng), truth.images, truth.images * rng.standard_normal()) for _ in range(tests)
    ]
    return dict(zip(WAYS, (np.array(values) < STRICTEST).mean(0).tolist(), strict=True))


def table(results: dict[str, Any]) -> str:
    """The Markdown table of `docs/statistics.md`."""
    lines = ["| what is true | each model on its own | means of both sides (used) | differences of each seed |"]
    lines += ["|---|---|---|---|"]
    lines += [f"| {name} | {' | '.join(f'{row[way]:.3f}' for way in WAYS)} |" for name, row in results.items()]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tests", type=int, default=10_000, help="simulated tests for each row")
    tests = parser.parse_args().tests
    rows = {name: found(truth, tests) | {"truth": asdict(truth)} for name, truth in TRUTHS.items()}
    print(table(rows))
    write_json(report.RESULTS / "contrasts.json", {"level": STRICTEST, "tests": tests, "rows": rows})


if __name__ == "__main__":
    run(main)
