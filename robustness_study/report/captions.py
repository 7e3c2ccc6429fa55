"""The report's figures with their captions, which say how many images a figure is of and whether an alarm rang."""

from __future__ import annotations

from typing import Any

from robustness_study.results import flattered
from robustness_study.results.cell_results import Cells

CAPTIONS = {
    "accuracy": "Test accuracy on {test} images, clean or corrupted; whiskers are 95 % intervals",
    "ladder": (
        "Accuracy under the fast gradient sign method, on {attacked} test images; bands are 95 % "
        "intervals{alarmed_ladder}"
    ),
    "transfer": "Accuracy on {transferred} test images attacked through another model, seed {seed}{alarmed_transfer}",
    "suite": (
        "Accuracy under each corruption at each severity, on {stressed} test images; stars mark those akin to what "
        "training does to images. Every figure's interval is in `tables/suite_in_full.csv`"
    ),
    "severity": (
        "Accuracy against severity, the mean over a group's corruptions, on {stressed} test images; bands are 95 % "
        "intervals"
    ),
    "curves": (
        "Training curves of every model. Each is watched on images of its own training set's kind, so levels do not "
        "compare between training sets; a loss that classifies by centroids fits them on the training images watched"
    ),
    "confusion": "Confusion on {test} clean test images, seed {seed}",
}


DAGGER = "; † what the gradient of rescaled logits leaves, on fewer images: see the accepted alarm"
FLATTERED = "; an attack through {} is weaker than it could be: see the accepted alarm"


class Figures:
    """Writes a figure's lines for the report; its path is one under reports/."""

    def __init__(self, cells: Cells, transfer: dict[str, Any]) -> None:
        first = next(iter(cells.values()))[0]
        alarmed = flattered.with_accepted_alarm(cells)
        transferred = [
            results[0].cell.key
            for results in alarmed.values()
            if transfer["epsilon_255"] in flattered.clear_at(results[0])
        ]
        self.said = {
            "test": first.images("test_clean"),
            "attacked": first.attack["images"],
            "transferred": transfer["images"],
            "stressed": first.stress.images,
            "seed": first.cell.seed,
            "alarmed_ladder": DAGGER if alarmed else "",
            "alarmed_transfer": FLATTERED.format(" and ".join(transferred)) if transferred else "",
        }

    def __call__(self, name: str) -> list[str]:
        """The figure of that name and its caption below."""
        caption = CAPTIONS[name].format(**self.said)
        return [f"![{caption}](figures/{name}.png)", f"*{caption}.*"]
