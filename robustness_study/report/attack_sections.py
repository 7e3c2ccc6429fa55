"""The text of the report's sections on attacks."""

from __future__ import annotations

import numpy as np

from robustness_study.attacks import catalogue
from robustness_study.report import attack_tables, pictures
from robustness_study.report.study import Study
from robustness_study.report.tables import shown
from robustness_study.results.cell_results import CellResults, Cells
from robustness_study.results.overstated import clear_at, with_accepted_alarm

BESIDE = (
    "Each row says on how many of these images. {about} Alarms end the stage, unless they are accepted by name in "
    "`attack.accept`."
)
ONLY_RIGHT = "Images that are wrong without an attack count as wrong under {} as well."
IN_FULL = (
    "Of those images that were right when clean, and after rounding the attacked image to 8 bits (which changes "
    "nothing here: images of 8 bits moved by whole grey levels are such images again; PGD's below are not). Examples "
    "of attacked images are in `reports/examples/` (in DVC's cache, not in git: they show the dataset's images)."
)


def sections(study: Study) -> list[str]:
    """The report's two sections."""
    cells, transfer = study.cells, study.transfer
    return [
        "## Fast gradient sign attack",
        _attack_note(study.first),
        shown(study.tables["fast_gradient_sign"]).to_markdown(floatfmt=".4f"),
        *_overstated(cells),
        *_moved(cells),
        *pictures.under("Fast gradient sign attack", study),
        IN_FULL,
        shown(study.tables["fast_gradient_sign_in_full"]).to_markdown(floatfmt=".4f"),
        "## Other attacks",
        *_beside(study),
        attack_tables.attack_checks(cells).to_markdown(floatfmt=".4f"),
        f"FGSM images of {transfer['images']} test images at ε = {transfer['epsilon_255']}/255, attacked through the "
        "model of a row and given to the model of a column (in brackets 95 % intervals over images):",
        attack_tables.transfer_table(transfer, "said").to_markdown(floatfmt=".4f"),
        *pictures.under("Other attacks", study),
    ]


def _attack_note(first: CellResults) -> str:
    attack = first.attack
    return (
        f"On {attack['images']} clean test images, stratified, the same for every model; true labels, float32, "
        "ε in grey levels. One step of one attack is an upper bound of robustness, not a measure of it "
        "(Carlini et al. 2019, arXiv 1902.06705); it climbs the cross-entropy of each loss's own logits."
    )


def _moved(cells: Cells) -> list[str]:
    """How far FGSM turns features; nothing if a model's attack.json is older than that and does not say it."""
    every = [result.attack for results in cells.values() for result in results]
    if any("moved_degrees" not in attack for attack in every):
        return []
    medians = {
        f"{loss}, {train_set}": np.mean([result.attack["moved_degrees"]["50"] for result in results])
        for (loss, train_set), results in cells.items()
    }
    each = "; ".join(f"{name} {degrees:.1f}°" for name, degrees in medians.items())
    epsilon_255 = every[0]["moved_epsilon_255"]
    return [f"At ε = {epsilon_255}/255 it turns an image's features by (median of images, mean of seeds): {each}."]


def _beside(study: Study) -> list[str]:
    """What the other attacks are, and their table; a sentence if there are none."""
    names = attack_tables.beside(study.first)
    entries = list(dict.fromkeys(catalogue.entry_of(name).name for name in names))
    ran = [entry for entry in catalogue.ATTACKS if entry.name in entries]
    if not ran:
        return ["No other attack was run: `attack.attacks` in params.yaml is empty."]
    about = [entry.about for entry in ran]
    only_right = [next(iter(entry.titles.values())) for entry in ran if entry.only_right_images]
    about += [ONLY_RIGHT.format(" and ".join(only_right))] if only_right else []
    table = shown(study.tables["other_attacks"]).to_markdown(floatfmt=".4f")
    return [BESIDE.format(about=" ".join(about)), table]


def _overstated(cells: Cells) -> list[str]:
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
