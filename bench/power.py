"""Simulates whole studies whose true differences are known, and counts how often the claims' tests are right.

Each simulated study has the models of the two studies' claims. A seed moves the accuracy of each model by chance
(`SPREADS`, a standard deviation in points). An image is correct with one model more often if it is correct with another
(`CORRELATIONS`, like those of the earlier study, on JPEG copies of CIFAR-10 with seeds 0, 1 and 2). Then the tests of
the claims run as they do in the report. `python -m bench.power` takes about a quarter of an hour on one core and writes
`bench/results/power.json`; `docs/statistics.md` has its table.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench import report
from robustness_study.core.files import write_json
from robustness_study.core.program import run
from robustness_study.core.seeds import derive_seed
from robustness_study.results.claims import CLAIMS, LOSSES, TRAIN_SETS, Claim, Name
from robustness_study.results.families import LEVEL, Adjusted, adjust
from robustness_study.results.intervals import difference_over_seeds
from robustness_study.statistics import Estimate

CELLS: tuple[Name, ...] = tuple((loss, train_set) for loss in LOSSES for train_set in TRAIN_SETS)
IMAGES = {"test_clean": 10_000, "test_corrupted": 10_000, "suite_unseen_mean": 1000, "robust_2": 1000}
ACCURACIES = {"test_clean": 0.74, "test_corrupted": 0.58, "suite_unseen_mean": 0.66, "robust_2": 0.5}
# Shares of the variance of whether an image is correct (of a latent normal variable): what all models have in common,
# models of one training set, models of one loss, models of one loss and training set. The rest belongs to one model.
CORRELATIONS = {
    "test_clean": (0.68, 0.11, 0.02, 0.03),
    "test_corrupted": (0.5, 0.26, 0.015, 0.025),
    "robust_2": (0.78, 0.08, 0.005, 0.01),
}
# A mean over many corruptions is no count: standard deviations of its scores, in the same order, then of the rest.
OF_SUITE = (0.30, 0.13, 0.05, 0.06, 0.16)
# Standard deviation of a model's accuracy over seeds, in points, for each of `CELLS`.
SPREADS: dict[str, dict[str, tuple[float, ...]]] = {
    "0.3": dict.fromkeys(IMAGES, (0.3,) * 4),
    "0.8": dict.fromkeys(IMAGES, (0.8,) * 4),
    "1.4": dict.fromkeys(IMAGES, (1.4,) * 4),
    "one cell 1.4, others 0.3": dict.fromkeys(IMAGES, (1.4, 0.3, 0.3, 0.3)),
    "as in the earlier study": {
        "test_clean": (0.4, 0.3, 0.3, 1.1),
        "test_corrupted": (1.4, 0.3, 0.3, 0.7),
        "suite_unseen_mean": (0.5, 0.5, 0.5, 1.2),
        "robust_2": (1.0, 1.0, 1.0, 1.0),
    },
    "as in the study": {
        "test_clean": (0.4, 0.4, 0.4, 0.2),
        "test_corrupted": (2.4, 0.1, 2.1, 0.4),
        "suite_unseen_mean": (0.8, 1.1, 0.8, 0.5),
        "robust_2": (1.0, 1.2, 2.0, 0.8),
    },
}
TOGETHER = {"seed": (0, 0, 0, 0), "training set": (0, 1, 0, 1), "loss": (0, 0, 1, 1)}  # which of CELLS move together


@dataclass(frozen=True)
class Scenario:
    """What is true in a simulated study. Differences are in points; a claim that is not named has none."""

    spread: str
    seeds: int = 5
    true_points: dict[int, float] = field(default_factory=dict)  # position in CLAIMS → true difference
    together: str = ""  # models of one seed with the same … have correlated accuracies
    correlation: float = 0.0
    images: dict[str, int] = field(default_factory=dict)  # instead of `IMAGES`

    def true_of(self, claim: Claim) -> float:
        """The true difference of a claim, as a share."""
        return self.true_points.get(CLAIMS.index(claim), 0.0) / 100


def accuracies(scenario: Scenario, metric: str, rng: np.random.Generator) -> np.ndarray:
    """The true accuracy of each model under one metric: cells × seeds, before the choice of images."""
    mean = np.full(len(CELLS), ACCURACIES[metric])
    for claim in (claim for claim in CLAIMS if claim.metric == metric):
        mean += [scenario.true_of(claim) / 2 * np.sign(claim.weights()[cell]) for cell in CELLS]
    moves = rng.standard_normal((len(CELLS), scenario.seeds))
    if scenario.together:
        common = rng.standard_normal((2, scenario.seeds))[list(TOGETHER[scenario.together])]
        moves = np.sqrt(1 - scenario.correlation) * moves + np.sqrt(scenario.correlation) * common
    return np.asarray(mean[:, None] + np.array(SPREADS[scenario.spread][metric])[:, None] / 100 * moves)


def scores(scenario: Scenario, metric: str, rng: np.random.Generator) -> np.ndarray:
    """The scores of every image: cells × seeds × images, 0 or 1, or means over corruptions."""
    from scipy.special import ndtri

    images = scenario.images.get(metric, IMAGES[metric])
    right = accuracies(scenario, metric, rng)
    if metric in CORRELATIONS:
        shares = CORRELATIONS[metric]
        sizes = np.sqrt([*shares, 1 - sum(shares)])
    else:
        sizes = np.array(OF_SUITE)
    of_image = rng.standard_normal((1 + 2 + 2 + 4, images), dtype=np.float32)
    effects = np.stack(
        [
            sizes[:4] @ of_image[[0, 1 + TRAIN_SETS.index(train_set), 3 + LOSSES.index(loss), 5 + cell]]
            for cell, (loss, train_set) in enumerate(CELLS)
        ]
    )
    rest = rng.standard_normal((len(CELLS), scenario.seeds, images), dtype=np.float32)
    effects = effects[:, None, :].astype(np.float32) + np.float32(sizes[4]) * rest
    if metric in CORRELATIONS:
        return np.asarray(effects < ndtri(right)[..., None]).astype(np.float64)
    return np.asarray(right[..., None] + effects)


def tested(scenario: Scenario, rng: np.random.Generator) -> list[tuple[Estimate, Adjusted]]:
    """One simulated study: what its report says about each claim."""
    found = {
        metric: {
            cell: [{"test": of_seed} for of_seed in of_cell]
            for cell, of_cell in zip(CELLS, scores(scenario, metric, rng), strict=True)
        }
        for metric in IMAGES
    }
    estimates = [
        difference_over_seeds(*([found[claim.metric][cell] for cell in side] for side in claim.sides()))
        for claim in CLAIMS
    ]
    return list(zip(estimates, adjust(estimates), strict=True))


def simulate(scenario: Scenario, studies: int, seed: int = 0) -> dict[str, Any]:
    """How often the tests were right in many simulated studies: shares of studies, and a mean in points.

    `wrong`: at least one claim without a true difference got a verdict, or one with got the opposite. `hold`: all the
    simultaneous intervals held the true differences. `found`: the right verdict, for each claim with a true difference.
    `detectable_points`: the mean smallest detectable difference of each claim.
    """
    rng = np.random.default_rng(derive_seed(seed, "power", repr(scenario)))
    true = np.array([scenario.true_of(claim) for claim in CLAIMS])
    signs, hold, detectable = [], [], []
    for _ in range(studies):
        results = tested(scenario, rng)
        signs.append([adjusted.sign_of(found.mean) for found, adjusted in results])
        ends = np.array([adjusted.simultaneous_95 for _, adjusted in results])
        hold.append(bool(((ends[:, 0] <= true) & (true <= ends[:, 1])).all()))
        detectable.append([adjusted.smallest_detectable for _, adjusted in results])
    verdicts = np.array(signs)
    return {
        "studies": studies,
        "wrong": float(((verdicts != 0) & (verdicts != np.sign(true))).any(1).mean()),
        "hold": float(np.mean(hold)),
        "found": [
            float(share) if of else None for share, of in zip((verdicts == np.sign(true)).mean(0), true, strict=True)
        ],
        "detectable_points": [float(points) for points in 100 * np.mean(np.array(detectable, dtype=float), axis=0)],
    }


EVERY_TWO = dict.fromkeys(range(len(CLAIMS)), 2.0)
SUITE_OF = {"as in the study": {"suite_unseen_mean": 2000}}  # images of the suite, if not as in `IMAGES`
SCENARIOS = {
    **{f"{spread}, none": Scenario(spread, images=SUITE_OF.get(spread, {})) for spread in SPREADS},
    **{
        f"{spread}, 2 points": Scenario(spread, true_points=EVERY_TWO, images=SUITE_OF.get(spread, {}))
        for spread in SPREADS
    },
    "as in the earlier study, 3 seeds, none": Scenario("as in the earlier study", seeds=3),
    "as in the earlier study, 3 seeds, 2 points": Scenario("as in the earlier study", seeds=3, true_points=EVERY_TWO),
    "0.8, half of it common to a seed, none": Scenario("0.8", together="seed", correlation=0.5),
    "0.8, half of it common to a training set, none": Scenario("0.8", together="training set", correlation=0.5),
    "0.8, half of it common to a loss, none": Scenario("0.8", together="loss", correlation=0.5),
    "1.4, 0.9 of it common to a training set, none": Scenario("1.4", together="training set", correlation=0.9),
    "1.4, 0.9 of it common to a loss, none": Scenario("1.4", together="loss", correlation=0.9),
    "as in the earlier study, six of 10 points, one of −0.01": Scenario(
        "as in the earlier study", true_points=dict.fromkeys(range(len(CLAIMS)), 10.0) | {5: -0.01}
    ),
    "as in the earlier study, 4,000 images of the suite, all attacked, 2 points": Scenario(
        "as in the earlier study", true_points=EVERY_TWO, images={"suite_unseen_mean": 4000, "robust_2": 10_000}
    ),
    "as in the study, 0.9 of it common to a training set, none": Scenario(
        "as in the study", together="training set", correlation=0.9, images=SUITE_OF["as in the study"]
    ),
    "as in the study, 6 points": Scenario(
        "as in the study", true_points=dict.fromkeys(range(len(CLAIMS)), 6.0), images=SUITE_OF["as in the study"]
    ),
}


def table(scenarios: dict[str, Any]) -> str:
    """The Markdown table of `docs/statistics.md`. The columns `found`: lowest and highest over the claims."""
    lines = [
        "| spread over seeds, true differences | wrong | all intervals hold | found, 10,000 images | found, others |"
    ]
    lines += ["|---|---|---|---|---|"]
    for name, of in scenarios.items():
        images_of = IMAGES | SCENARIOS[name].images
        pairs = [(share, images_of[claim.metric]) for share, claim in zip(of["found"], CLAIMS, strict=True)]
        found = [
            [share for share, images in pairs if share is not None and (images == 10_000) == many]
            for many in (True, False)
        ]
        texts = [f"{min(shares):.2f} to {max(shares):.2f}" if shares else "" for shares in found]
        lines += ["| " + " | ".join([name, f"{of['wrong']:.3f}", f"{of['hold']:.3f}", *texts]) + " |"]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=800, help="simulated studies for each scenario")
    studies = parser.parse_args().studies
    found = {}
    for name, scenario in SCENARIOS.items():
        found[name] = simulate(scenario, studies)
        print(f"{name:68s}  {found[name]}", flush=True)
    print(table(found))
    write_json(
        report.RESULTS / "power.json", {"level": LEVEL, "claims": [claim.text for claim in CLAIMS], "scenarios": found}
    )


if __name__ == "__main__":
    run(main)
