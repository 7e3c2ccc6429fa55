"""Checks that attack.json agrees with itself: accuracies, worst case and alarms with the predictions they rest on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from robustness_study.attacks import alarms, catalogue, outcome
from robustness_study.core.array_text import from_text
from robustness_study.core.cell import IMAGES_DIGEST, WEIGHTS_DIGEST
from robustness_study.results.cell_results import CellResults

# A value in a file: its name in messages, what the file says, what follows from the predictions.
Values = Iterator[tuple[str, Any, Any]]


def of_attack(result: CellResults) -> Values:
    """The ladder, numbers of images, labels, and the alarms that the predictions raise."""
    written = result.attack
    yield "model", written["model"], result.cell.key
    yield WEIGHTS_DIGEST, written[WEIGHTS_DIGEST], result.evaluate[WEIGHTS_DIGEST]
    yield IMAGES_DIGEST, written[IMAGES_DIGEST], result.evaluate[IMAGES_DIGEST]
    labels, chosen = from_text(written["labels"]), from_text(written["test_indices"])
    of_test, clean = result.predictions("test_clean")
    yield "labels", labels.tolist(), of_test[chosen].tolist()
    yield "images", written["images"], len(labels)
    found = {name: outcome.from_json(each) for name, each in written["attacks"].items()}
    exact, rounded = found["fgsm"].predictions, found["fgsm_8_bit"].predictions
    yield "ladder", written["ladder"], outcome.summarise(exact, rounded, labels)
    for name, each in found.items():
        yield f"images of {name}", written["attacks"][name]["images"], len(each.positions)
    yield from _of_searches(found, labels)
    worst = outcome.worst_case(
        {name: each for name, each in found.items() if name != "worst_case"}, labels, clean[chosen]
    )
    yield "results with a worst case", ["worst_case"] * ("worst_case" in found), list(worst)
    for name, each in worst.items():
        yield f"positions of {name}", found[name].positions.tolist(), each.positions.tolist()
        yield f"epsilons of {name}", list(found[name].predictions), list(each.predictions)
        for epsilon, predicted in each.predictions.items():
            yield f"{name} at epsilon {epsilon}", found[name].predictions[epsilon].tolist(), predicted.tolist()
    raised = set(alarms_of(found, labels, clean[chosen], written["attacks"]["fgsm"]))
    collapse = alarms.catastrophic_overfitting(result.curves.get("val_pgd_accuracy", []))
    raised |= {collapse.name} if collapse else set()
    own = {alarm for entry in catalogue.ATTACKS for alarm in entry.alarms}  # may rest on what is not in the file
    yield "alarms", sorted(written["alarms"]), sorted(raised | own.intersection(written["alarms"]))


def _of_searches(found: Mapping[str, outcome.Found], labels: np.ndarray) -> Values:
    """That nothing is correct again in an attack that goes on from another, nor at a larger epsilon of a search."""
    starts = {name: of for entry in catalogue.EVERY for name, of in entry.goes_on_from.items()}
    for name in sorted({*starts, *starts.values()} & set(found)):
        wrong = {epsilon: said != labels[found[name].positions] for epsilon, said in found[name].predictions.items()}
        for smaller, larger in pairwise(wrong):
            again = int((wrong[smaller] & ~wrong[larger]).sum())
            yield f"images wrong at epsilon {smaller} and correct at {larger} under {name}", again, 0
        start = found.get(starts.get(name, ""))
        if start is not None:
            both = np.intersect1d(start.positions, found[name].positions)
            before, after = start.of(both), found[name].of(both)
            for epsilon in [each for each in before if each in after]:
                again = int(((before[epsilon] != labels[both]) & (after[epsilon] == labels[both])).sum())
                yield f"images wrong under {starts[name]} and correct under {name} at epsilon {epsilon}", again, 0


def alarms_of(
    found: Mapping[str, outcome.Found], labels: np.ndarray, clean: np.ndarray, measured: Mapping[str, Any]
) -> Iterator[str]:
    """The names of the alarms that follow from attack.json. An attack's own file may have raised others as well.

    `labels`, N, are the true ones, `clean`, N, those predicted without an attack. `measured` is what attack.json says
    of FGSM.
    """
    raised = [alarms.zero_gradients(measured["zero_gradients"], len(labels))]
    raised += [alarms.random_logits(measured["random_logits"], measured["images"])]
    raised += [alarms.not_clean_at_zero(int((found["fgsm"].predictions[0] != clean).sum()), len(clean))]
    ladder = {epsilon: predicted == labels for epsilon, predicted in found["fgsm"].predictions.items()}
    raised += [alarms.rises_with_epsilon(ladder, np.bincount(labels).max() / len(labels))]
    ran: dict[str, outcome.Found] = {}
    for entry in catalogue.EVERY:
        ran |= {name: each for name, each in found.items() if catalogue.entry_of(name) == entry}
        if any(catalogue.entry_of(name) == entry for name in found):
            raised += outcome.compared(entry, ran, labels, clean == labels)
    yield from (alarm.name for alarm in raised if alarm is not None)
