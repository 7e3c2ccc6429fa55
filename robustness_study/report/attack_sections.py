"""The text of the report's three sections on attacks."""

from __future__ import annotations

import numpy as np

from robustness_study.attacks import catalogue
from robustness_study.core.cell import model_name
from robustness_study.report import attack_checks, attack_tables, pictures
from robustness_study.report.markdown import listed, table
from robustness_study.report.study import Study
from robustness_study.report.tables import shown
from robustness_study.results.cell_results import CellResults, Cells
from robustness_study.results.overstated import clear_at, with_accepted_alarm

OTHER_ATTACKS = (
    "Accuracy under further attacks on some of the same images; each row gives their number. {about} An alarm stops "
    "the stage `attack` with an error, unless `attack.accept` names the alarm."
)
ONLY_CORRECT = "An image that is wrong without an attack also counts as wrong under {}."
CHECKS = "The next table checks whether the attacks work as they should, with one column per model."
IN_FULL = (
    "The next table has two more results for each ε. *Among images correct when clean*: the share of these images that "
    "remain correct under the attack. *Rounded to 8 bits*: the accuracy after each attacked image is rounded to 8 "
    "bits. Rounding changes nothing here, because FGSM moves the values of an 8-bit image by whole multiples of 1/255. "
    "It can change the results of PGD below. Examples of attacked images are in `reports/examples/` (in DVC's cache "
    "and not in git, because they show images of the dataset)."
)


def sections(study: Study) -> list[str]:
    """The paragraphs of the three sections."""
    cells, transfer = study.cells, study.transfer
    return [
        "## Robust accuracy",
        *_robust(study),
        "## Fast gradient sign attack",
        _attack_note(study.first),
        table(shown(study.tables["fast_gradient_sign"]).rename_axis("ε (in 1/255)")),
        *_overstated(cells),
        *_moved(cells),
        *pictures.under("Fast gradient sign attack", study),
        IN_FULL,
        table(shown(study.tables["fast_gradient_sign_in_full"])),
        "## Other attacks",
        *_other_attacks(study),
        CHECKS,
        table(attack_checks.attack_checks(cells)),
        "Transferred attacks: "
        f"FGSM images of {transfer['images']} test images at ε = {transfer['epsilon_255']}/255, attacked through the "
        "model of the row and classified by the model of the column. Each entry is an accuracy, with its 95 % interval "
        "over images in brackets.",
        table(attack_tables.transfer_table(transfer, "text").rename_axis("attacked through")),
        *pictures.under("Other attacks", study),
    ]


def _robust(study: Study) -> list[str]:
    """What robust accuracy is, and its table."""
    worst = study.first.attack["attacks"].get("worst_case")
    if worst is None:
        return ["Robust accuracy is not given: APGD did not run (`attack.attacks.apgd` in params.yaml)."]
    return [
        f"{catalogue.WORST_CASE.about} It is measured on {worst['images']} clean test images, on which APGD, the "
        "strongest attack here, ran; other attacks ran on some of them, or on all. A stronger attack can still be "
        "found, so robust accuracy is an upper bound. FGSM on the same images shows how much one step misses.",
        table(shown(study.tables["robust_accuracy"])),
        *_weak_attacks(study.every),
    ]


def _weak_attacks(every: list[CellResults]) -> list[str]:
    """A warning that names the models with an accepted alarm about the iterative attacks; empty if there is none."""
    of_fgsm = {*catalogue.FAST_GRADIENT_SIGN.alarms, "noise_stronger", "rescaled_logits", "pgd_weaker", "knn_masked"}
    found = {result.cell.key: [name for name in result.attack["alarms"] if name not in of_fgsm] for result in every}
    named = "; ".join(f"{key}: {', '.join(names)}" for key, names in found.items() if names)
    return [f"> These values may overstate robustness, as alarms were accepted: {named}."] if named else []


def _attack_note(first: CellResults) -> str:
    attack = first.attack
    return (
        f"Accuracy under FGSM on {attack['images']} clean test images, stratified by class, the same for every model. "
        "FGSM takes one step of size ε along the signs of the gradient. It increases the cross-entropy between each "
        "loss's own logits and the true label, in float32. The accuracy under one attack with a single step is only "
        "an upper bound of a model's robustness, not a measure of it (Carlini et al. 2019, arXiv 1902.06705)."
    )


def _moved(cells: Cells) -> list[str]:
    """By how many degrees FGSM turns features; empty if an older attack.json does not contain this."""
    every = [result.attack for results in cells.values() for result in results]
    if any("moved_degrees" not in attack for attack in every):
        return []
    medians = {
        model_name(loss, train_set): np.mean([result.attack["moved_degrees"]["50"] for result in results])
        for (loss, train_set), results in cells.items()
    }
    each = "; ".join(f"{name} {degrees:.1f}°" for name, degrees in medians.items())
    epsilon_255 = every[0]["moved_epsilon_255"]
    return [
        f"At ε = {epsilon_255}/255, FGSM turns the features of an image by these angles (median over images, mean over "
        f"seeds): {each}."
    ]


def _other_attacks(study: Study) -> list[str]:
    """An explanation of the other attacks, and their table; one sentence if there are none."""
    names = attack_tables.other_results(study.first)
    entries = list(dict.fromkeys(catalogue.entry_of(name).name for name in names))
    ran = [entry for entry in catalogue.ATTACKS if entry.name in entries]
    if not ran:
        return ["No other attack was run: `attack.attacks` in params.yaml is empty."]
    about = [entry.about for entry in ran]
    only_correct = [next(iter(entry.titles.values())).split(",")[0] for entry in ran if entry.only_right_images]
    about += [ONLY_CORRECT.format(listed(only_correct))] if only_correct else []
    return [OTHER_ATTACKS.format(about=" ".join(about)), table(shown(study.tables["other_attacks"]))]


def _overstated(cells: Cells) -> list[str]:
    """A warning for each loss and training set with an accepted alarm, next to its results."""
    lines = []
    for (loss, train_set), results in with_accepted_alarm(cells).items():
        places = "; ".join(
            f"ε = {', '.join(map(str, at))} with seed {result.cell.seed}"
            for result in sorted(results, key=lambda result: result.cell.seed)
            if (at := clear_at(result))
        )
        lines.append(
            f"> **Accepted alarm**, {model_name(loss, train_set)}: these values overstate robustness. The gradient of "
            f"rescaled logits is clearly the stronger attack at {places} (ε in 1/255). The picture below shows it as a "
            "dashed line (†), and the section Other attacks gives its results."
        )
    return lines
