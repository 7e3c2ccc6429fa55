"""Stage `report`: the comparison as one page, with images, that opens without a network.

Reads what `compare` reads, and, of the models of the first seed, arrays and images that only DVC's cache has. Writes
`reports/report.html`. It shows images of the dataset, so it is not in git.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from robustness_study.core import params
from robustness_study.core.files import array_digest, read_npz, write_text
from robustness_study.core.program import run
from robustness_study.report.study import read as read_study
from robustness_study.results.seen_corruptions import seen
from robustness_study.schema.corrupt import Corrupt
from robustness_study.schema.recipe import Recipe
from robustness_study.webpage import document, sections, shown
from robustness_study.webpage.explorer import refuse_other_copies
from robustness_study.webpage.revision import commit


def copies(corruption: str, positions: np.ndarray) -> np.ndarray:
    """Some of the suite's images under a corruption, uint8 severities×n×S×S×3."""
    return read_npz(f"data/suite/{corruption}.npz", "images")[0][:, positions]


def content() -> dict[str, Any]:
    """All that the page shows. Of params.yaml it shows all but the headline's `loss` and the place of the images."""
    values = params.read()
    losses, train_sets, seeds = (params.lookup(values, name) for name in ("losses", "train_sets", "seeds"))
    recipe_name = params.lookup(values, "recipe")
    recipe, corruption = params.section(f"recipes.{recipe_name}", Recipe), params.section("corrupt", Corrupt)
    study = read_study(losses, train_sets, seeds, seen(corruption, recipe, train_sets))
    images, labels = read_npz("data/raw/test.npz", "images", "labels")
    models = [shown.read(results[0]) for results in study.cells.values()]
    corruptions = study.first.stress.by_corruption
    suite = {name: array_digest(*read_npz(f"data/suite/{name}.npz", "images")) for name in corruptions}
    refuse_other_copies(models[0], suite)
    settings = {
        name: params.lookup(values, name)
        for name in (
            "losses", "train_sets", "seeds", "recipe", "natural", "split", "corrupt", "train_set_config", "suite",
            "loss_config", "evaluate", "attack", "transfer", "embed", "stability",
        )
    }  # fmt: skip
    settings[f"recipes.{recipe_name}"] = recipe.model_dump()
    return document.content(study, models, images, labels, copies, settings, sections.made(study, commit()))


def main() -> None:
    text = document.page(content())
    write_text("reports/report.html", text)
    print(f"reports/report.html: {len(text.encode()) / 1e6:.1f} MB; open it in a browser")


if __name__ == "__main__":
    run(main)
