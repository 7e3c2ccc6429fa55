"""The parts of an audit: what the stages `evaluate`, `attack`, `stress`, `embed` and `render` do to a model.

Each part writes its results into the model's folder, and does nothing if they are there already.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from robustness_study.attacks import catalogue, example_grid, one_model, outcome
from robustness_study.attacks.alarms import Alarm
from robustness_study.attacks.outcome import Found
from robustness_study.attacks.scoring import Logits
from robustness_study.attacks.settings import Settings as AttackSettings
from robustness_study.attacks.subject import ModelUnderAttack
from robustness_study.audit.cell import AuditedCell
from robustness_study.audit.images import Changed
from robustness_study.audit.kept import KEY, kept
from robustness_study.audit.wrapped import Audited
from robustness_study.classifier import device
from robustness_study.classifier.model import Classifier
from robustness_study.classifier.reduced import Reduced
from robustness_study.core.array_text import to_text
from robustness_study.core.cell import CONFIDENCES_DIGEST, IMAGES_DIGEST, NATURAL, WEIGHTS_DIGEST
from robustness_study.core.errors import StudyError
from robustness_study.core.files import array_digest, content_digest, read_npz, read_record, write_npz, write_record
from robustness_study.evaluation import score, stress
from robustness_study.planes import picture, umap_plane

PARTS_OF_ATTACK = "attack_parts.json"  # while attacks run: what is done of them
PARTS_OF_STRESS = "stress_parts"
POINTS = ("clean", "clean_taken", "corrupted", "attacked", "test_indices", "attacked_indices")


@dataclass(frozen=True)
class Model:
    """One model to audit. `weights` is the digest of all that it is made of.

    `of_suite` scores it on the corruptions; `guide` gives logits for searches.
    """

    cell: AuditedCell
    network: Audited | Classifier
    of_suite: Audited | Reduced
    guide: Logits
    weights: str
    about: dict[str, Any]

    @property
    def on(self) -> torch.device:
        """The device that it is on."""
        return self.network.mean.device

    @property
    def precision(self) -> str:
        """The precision in which it is scored on the corruptions."""
        return self.of_suite.precision if isinstance(self.of_suite, Reduced) else "float32"

    def key(self, changed: Changed) -> str:
        """A digest of all that decides its results."""
        data = changed.data
        return content_digest([self.weights, data.digest, data.classes, changed.settings.as_dict(), self.precision])

    def head(self, changed: Changed) -> dict[str, Any]:
        """What every record of it begins with."""
        return {
            "model": self.cell.key,
            KEY: self.key(changed),
            WEIGHTS_DIGEST: self.weights,
            "computed_with": device.describe(self.on) | {"precision_of_suite": self.precision},
        }


def evaluate(model: Model, changed: Changed) -> None:
    """Accuracy, calibration and features, on clean and corrupted test images and on natural sets."""
    cell, data = model.cell, changed.data
    path = cell.result("evaluate.json")
    if kept(path, model.key(changed), cell.evaluated, "test_clean_logits", "test_corrupted_logits"):
        return
    sets = {"test_clean": (data.images, data.labels), "test_corrupted": (changed.mixed, data.labels)}
    sets |= {f"{NATURAL}{name}": found for name, found in changed.natural.items()}
    results, arrays = score.evaluate(model.network, sets, None, data.classes, changed.settings.evaluate)
    write_npz(cell.evaluated, **arrays, **{WEIGHTS_DIGEST: np.array(model.weights)})
    head = {
        **model.head(changed),
        IMAGES_DIGEST: data.digest,
        "about": model.about,
        "dataset": {**data.about, "classes": data.classes},
        "natural": {name: array_digest(*found) for name, found in sets.items() if name.startswith(NATURAL)},
    }
    write_record(path, head | results)


def attack(model: Model, changed: Changed) -> None:
    """FGSM and all other attacks. An alarm ends nothing: it is a result."""
    cell, data, section = model.cell, changed.data, changed.settings.attack
    path, key = cell.result("attack.json"), model.key(changed)
    if kept(path, key, cell.attacked, "signs", "features", "confidences"):
        return
    logits = read_npz(cell.evaluated, "test_clean_logits")[0]
    target = one_model.target_of(data.images, data.labels, section.images, section.seed, model.on)
    clean = logits[target.indices].argmax(1)
    subject = ModelUnderAttack(model.network, target, section, clean, None, model.guide)
    parts = cell.result(PARTS_OF_ATTACK)
    done = _go_on(subject, kept(parts, key))
    blocks: dict[str, AttackSettings] = {
        catalogue.FAST_GRADIENT_SIGN.name: AttackSettings(),
        **changed.settings.attacks,
    }
    for entry in catalogue.RUN:
        if entry.name in blocks and entry.name not in done:
            print(f"{cell.key}: attack {entry.name} …", flush=True)
            one_model.run_one(subject, entry, blocks[entry.name])
            done.append(entry.name)
            write_record(parts, {KEY: key, "done": done, **_so_far(subject)})
    worst = outcome.worst_case(subject.found, subject.labels, subject.clean)
    one_model.keep(subject, catalogue.WORST_CASE, worst)
    epsilon = section.example_epsilon_255
    example_grid.draw(cell.top / "examples.png", subject, section.examples, epsilon, data.classes)
    arrays = one_model.arrays(subject, model.network, epsilon)
    write_npz(cell.attacked, **arrays, **{WEIGHTS_DIGEST: np.array(model.weights)})
    head = {
        **model.head(changed),
        IMAGES_DIGEST: data.digest,
        CONFIDENCES_DIGEST: array_digest(arrays["confidences"]),
        "attack": "fast gradient sign",
    }
    write_record(path, head | one_model.as_json(subject))
    parts.unlink()


def _so_far(subject: ModelUnderAttack) -> dict[str, Any]:
    found = {
        name: {"settings": each.settings, "measured": each.measured, **outcome.as_json(each)}
        for name, each in subject.found.items()
    }
    return {"found": found, "alarms": [[alarm.name, alarm.reason] for alarm in subject.alarms]}


def _go_on(subject: ModelUnderAttack, parts: dict[str, Any] | None) -> list[str]:
    """Give the subject what was found before; the names of the attacks that ran."""
    if parts is None:
        return []
    for name, written in parts["found"].items():
        plain = outcome.from_json(written)
        subject.found[name] = Found(plain.positions, plain.predictions, written["settings"], written["measured"])
    subject.alarms += [Alarm(name, reason) for name, reason in parts["alarms"]]
    return list(parts["done"])


def corruptions(models: list[Model], changed: Changed) -> None:
    """Accuracy and calibration of every model under each corruption at five severities. Each copy is made once."""
    waiting = [
        model
        for model in models
        if not kept(model.cell.result("stress.json"), model.key(changed), model.cell.stressed, "clean")
    ]
    so_far = {model.cell.key: _parts_of(model, changed) for model in waiting}
    data, chosen = changed.data, changed.of_suite
    labels = data.labels[chosen]
    at_once = min(stress.BATCH_SIZE, changed.settings.evaluate.batch_size)
    for name in ("clean", *changed.settings.suite.corruptions):
        lacking = [model for model in waiting if name not in so_far[model.cell.key]]
        if not lacking:
            continue
        if name == "clean":
            of_severity = {0: data.images[chosen]}
        else:
            of_severity = dict(enumerate(changed.copies(name, np.arange(len(chosen))), start=1))
        digest = array_digest(np.stack(list(of_severity.values())))
        for model in lacking:
            rows, texts, confidences = stress.score(model.of_suite, name, of_severity, labels, None, at_once)
            of_model = so_far[model.cell.key]
            of_model[name] = {"rows": rows, "predictions": texts, "digest": digest, "confidences": confidences}
            _write_parts(model, changed, of_model)
            shown = " ".join(f"{row['accuracy']:.3f}" for row in rows)
            print(f"{model.cell.key}: {name:18s} {shown}  of {len(chosen)} images", flush=True)
    for model in waiting:
        _write_stress(model, changed, so_far[model.cell.key], labels)


def _parts_of(model: Model, changed: Changed) -> dict[str, dict[str, Any]]:
    """What is done of the corruptions: name → rows, predictions, digest of the images, confidences."""
    path = model.cell.result(f"{PARTS_OF_STRESS}.json")
    arrays = path.with_suffix(".npz")
    record = kept(path, model.key(changed))
    if record is None or not kept(path, model.key(changed), arrays, *record["of"]):
        return {}
    confidences = read_npz(arrays, *record["of"])
    return {
        name: {**found, "confidences": of_name}
        for (name, found), of_name in zip(record["of"].items(), confidences, strict=True)
    }


def _write_parts(model: Model, changed: Changed, of: dict[str, dict[str, Any]]) -> None:
    path = model.cell.result(f"{PARTS_OF_STRESS}.json")
    write_npz(path.with_suffix(".npz"), **{name: found["confidences"] for name, found in of.items()})
    plain = {name: {key: value for key, value in found.items() if key != "confidences"} for name, found in of.items()}
    write_record(path, {KEY: model.key(changed), "of": plain})


def _write_stress(model: Model, changed: Changed, of: dict[str, dict[str, Any]], labels: np.ndarray) -> None:
    names = ["clean", *changed.settings.suite.corruptions]
    confidences = {name: of[name]["confidences"] for name in names}
    write_npz(model.cell.stressed, **confidences, **{WEIGHTS_DIGEST: np.array(model.weights)})
    record = {
        **model.head(changed),
        IMAGES_DIGEST: content_digest({name: of[name]["digest"] for name in names[1:]}),
        CONFIDENCES_DIGEST: array_digest(*confidences.values()),
        "images": len(labels),
        "temperature": None,
        "rows": [row for name in names for row in of[name]["rows"]],
        "test_indices": to_text(changed.of_suite),
        "labels": to_text(labels),
        "predictions": {name: of[name]["predictions"] for name in names},
    }
    write_record(model.cell.result("stress.json"), record)
    for suffix in (".json", ".npz"):
        model.cell.result(f"{PARTS_OF_STRESS}{suffix}").unlink(missing_ok=True)


def plane(model: Model, changed: Changed) -> None:
    """UMAP of the features of clean, corrupted and attacked images; nothing for a model without features."""
    cell, section = model.cell, changed.settings.embed
    path = cell.plane("plane.json")
    logits = read_npz(cell.evaluated, "test_clean_logits")[0]
    attacked, of_attack, epsilon = read_npz(cell.attacked, "features", "test_indices", "epsilon_255")
    if kept(path, model.key(changed), cell.embedded, *POINTS):
        return
    for old in (path, cell.plane("plane.png"), cell.embedded):  # of a model with features, or of other images
        old.unlink(missing_ok=True)
    if not attacked.shape[1]:
        return
    clean, corrupted = read_npz(cell.evaluated, "test_clean_features", "test_corrupted_features")
    labels = changed.data.labels
    try:
        chosen = umap_plane.images_of_plane(labels, section)
        both, of_chosen, of_attacked = np.intersect1d(chosen, of_attack, return_indices=True)
        print(f"{cell.key}: UMAP of {len(chosen)} of {len(logits)} images …", flush=True)
        points, measures = umap_plane.placed(
            clean[chosen], corrupted[chosen], attacked[of_attacked], of_chosen, labels[chosen], section
        )
    except StudyError as error:  # too few images, for example: all other results are good
        print(f"{cell.key}: no UMAP plane: {error}", flush=True)
        return
    indices = {"test_indices": chosen.astype(np.int32), "attacked_indices": both.astype(np.int32)}
    write_npz(cell.embedded, **points, **indices, **{WEIGHTS_DIGEST: np.array(model.weights)})
    notes = umap_plane.notes_of(cell.key, points, int(epsilon), clean.shape[1], measures)
    picture.draw(cell.plane("plane.png"), {**points, **indices}, labels, changed.data.classes, notes)
    write_record(path, {**model.head(changed), **notes})


def results_of(model: Model) -> dict[str, dict[str, Any]]:
    """The records of a model whose parts are all done: name without `.json` → content."""
    found = {name: read_record(model.cell.result(f"{name}.json")) for name in ("evaluate", "attack", "stress")}
    planes = model.cell.plane("plane.json")
    return found | ({"plane": read_record(planes)} if planes.is_file() else {})
