"""The text of the report's sections on attacks."""

from __future__ import annotations

from typing import Any

from robustness_study.report import attack_tables
from robustness_study.report.captions import Figures
from robustness_study.results.cell_results import CellResults, Cells
from robustness_study.results.flattered import clear_at, with_accepted_alarm
from robustness_study.results.intervals import said

OTHERS = (
    "Each says on how many of these images. Random signs of the same size are the least that an attack must beat; the "
    "gradient of rescaled logits tells whether their scale makes the reported attack a weak one; PGD takes many steps, "
    "from random starts, looks every few of them whether the image is wrong yet, and is the most that is tried; Square "
    "asks for logits alone, so a gradient that is hidden does not stop it, but with so few queries it finds gross "
    "masking only. For the nearest neighbours, which have no gradient, a soft stand-in is attacked and the real ones "
    "are scored. Who is wrong without an attack counts as wrong under PGD and Square. Alarms end the stage, unless "
    "accepted by name in `attack.accept`."
)
IN_FULL = (
    "Of those images that were right when clean, and after rounding the attacked image to 8 bits (which changes "
    "nothing here: images of 8 bits moved by whole grey levels are such images again; PGD's below are not). Examples "
    "of attacked images are in `reports/examples/` (in DVC's cache, not in git: they show the dataset's images)."
)


def sections(cells: Cells, transfer: dict[str, Any], figure: Figures) -> list[str]:
    """The report's two sections."""
    first = next(iter(cells.values()))[0]
    return [
        "## Fast gradient sign attack",
        _attack_note(first),
        attack_tables.ladder_table(cells, said).to_markdown(floatfmt=".4f"),
        *_flattered(cells),
        *figure("ladder"),
        IN_FULL,
        attack_tables.attack_table(cells, said).to_markdown(floatfmt=".4f"),
        "## Other attacks",
        OTHERS,
        attack_tables.beside_attack_table(cells, said).to_markdown(floatfmt=".4f"),
        attack_tables.attack_checks(cells).to_markdown(floatfmt=".4f"),
        f"FGSM images of {transfer['images']} test images at ε = {transfer['epsilon_255']}/255, attacked through the "
        "model of a row and given to the model of a column (in brackets 95 % intervals over images):",
        attack_tables.transfer_table(transfer, "said").to_markdown(floatfmt=".4f"),
        *figure("transfer"),
    ]


def _attack_note(first: CellResults) -> str:
    attack = first.attack
    return (
        f"On {attack['images']} clean test images, stratified, the same for every model; true labels, float32, "
        "ε in grey levels. One step of one attack is an upper bound of robustness, not a measure of it "
        "(Carlini et al. 2019, arXiv 1902.06705); it climbs the cross-entropy of each loss's own logits."
    )


def _flattered(cells: Cells) -> list[str]:
    """What to think of the figures of models with an accepted alarm, where these stand."""
    lines = []
    for (loss, train_set), results in with_accepted_alarm(cells).items():
        places = "; ".join(
            f"ε = {', '.join(map(str, at))} with seed {result.cell.seed}"
            for result in sorted(results, key=lambda result: result.cell.seed)
            if (at := clear_at(result))
        )
        lines.append(
            f"> **Accepted alarm**, {loss}, {train_set}: these figures flatter it. The gradient of rescaled logits is "
            f"clearly the stronger attack at {places} (dashed below, †, and under Other attacks)."
        )
    return lines
