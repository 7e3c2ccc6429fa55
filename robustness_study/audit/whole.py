"""A whole audit: reads images and models, looks for mistakes, does every part, and writes what came out."""

from __future__ import annotations

import argparse
import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from robustness_study.attacks.scoring import Logits
from robustness_study.audit import card, images, loading, page, parts, preflight, report, settings, study
from robustness_study.audit.cell import AuditedCell
from robustness_study.audit.wrapped import Audited, guide_of, keeps_something
from robustness_study.classifier import device
from robustness_study.classifier.inference import to_float
from robustness_study.classifier.model import Classifier
from robustness_study.classifier.reduced import Reduced
from robustness_study.core import params
from robustness_study.core.errors import StudyError
from robustness_study.core.files import write_json, write_text
from robustness_study.core.locks import held
from robustness_study.core.subsets import TEST_IMAGES, stratified
from robustness_study.report.tables import shown

LOOKED_AT = 512  # images for the first look at a model


def audit(given: argparse.Namespace, values: dict[str, Any]) -> None:
    """Do what the arguments of the program say; `values` is the content of params.yaml.

    Raises StudyError, before the work, if a model cannot be audited.
    """
    on = device.choose(given.device)
    background = params.lookup(values, "download.background")
    data = images.read(given.images, given.size, _classes(given.classes), background)
    of_audit = settings.settings_of(values, given.quick, tuple(given.natural), data.side)
    data = data.first(of_audit.test_images, of_audit.attack.seed)
    for note in data.notes:
        print(f"audit: {note}")
    weights = [None if each == "-" else Path(each) for each in given.weights] or [None] * len(given.models)
    names = given.names or names_of(given.models, weights)
    for name in names:
        if not re.fullmatch(r"[\w.-]+", name) or name.startswith("."):
            raise StudyError(f"--names {name!r}: use letters, digits, - and _ only, as it is the name of a folder")
    if len(set(names)) < len(names):
        raise StudyError(f"--names: two models are called {max(names, key=names.count)!r}; give each its own name")
    models = [
        _ready(spec, of_spec, AuditedCell.of(name, given.out), data, given, on)
        for spec, of_spec, name in zip(given.models, weights, names, strict=True)
    ]
    changed = images.Changed(data, of_audit)
    _ = changed.natural  # a set that cannot be had is told now
    given.out.mkdir(parents=True, exist_ok=True)
    with held("audit", top=given.out):
        found = _parts(models, changed)
        _write(given.out, found, changed)


def _parts(models: list[parts.Model], changed: images.Changed) -> study.Audit:
    for model in models:
        print(f"audit: {model.cell.key}: accuracy (part 1 of 4)", flush=True)
        parts.evaluate(model, changed)
        print(f"audit: {model.cell.key}: attacks (part 2 of 4)", flush=True)
        parts.attack(model, changed)
    print("audit: corruptions (part 3 of 4)", flush=True)
    parts.corruptions(models, changed)
    print("audit: features and report (part 4 of 4)", flush=True)
    for model in models:
        parts.plane(model, changed)
    return study.read(models)


def _write(out: Path, found: study.Audit, changed: images.Changed) -> None:
    report.write(out, found)
    metrics = study.metrics(found)
    for old in out.glob("model-card*.md"):
        old.unlink()
    write_json(out / "metrics.json", metrics)
    for result in found.every:
        name = "model-card.md" if len(found.cells) == 1 else f"model-card-{result.cell.key}.md"
        write_text(out / name, card.card(found, result, metrics[result.cell.key]))
    write_text(out / "report.html", page.text(found, changed))
    print(f"\n{shown(found.tables['summary']).to_string()}\n")
    alarms = sum(len(result.attack["alarms"]) for result in found.every)
    print(f"audit: {alarms} alarms; open {out / 'report.html'} in a browser")


def _ready(
    spec: str,
    weights: Path | None,
    cell: AuditedCell,
    data: images.TestImages,
    given: argparse.Namespace,
    on: torch.device,
) -> parts.Model:
    """A loaded model that has passed the first look."""
    count = max(64, LOOKED_AT * 32**2 // max(32, data.side) ** 2)  # larger images take longer
    chosen = stratified(data.labels, count, 0, TEST_IMAGES)
    few = to_float(torch.from_numpy(data.images[chosen])).to(on)
    labels = torch.from_numpy(data.labels[chosen].astype(np.int64)).to(on)
    loaded = loading.load(spec, weights, len(data.classes))
    about = loading.about(spec, weights, loaded)
    network: Audited | Classifier
    of_suite: Audited | Reduced
    guide: Logits
    if isinstance(loaded.model, Classifier):
        if given.features:
            raise StudyError(f"{spec}: a model of the pipeline needs no --features; leave it out")
        network = loaded.model.to(on)
        guide = Reduced(network, "bfloat16", loaded.network)
        of_suite = Reduced(network, loaded.trained_in, loaded.network)  # as the stage `stress` does
    else:
        network = _wrapped(loaded.model, given, few)
        if given.mean:
            about["normalisation"] = f"mean {given.mean}, standard deviation {given.std}"
        guide = of_suite = network
    print(f"audit: {cell.key}: looking for mistakes", flush=True)
    try:
        preflight.refuse_mistakes(network, few, labels, data.classes)
        network.outputs(few[:2])  # finds the layer of the features
    except StudyError as error:
        raise StudyError(f"{cell.key}: {error}") from None
    if isinstance(network, Audited):
        guide = guide_of(network, few[:32], labels[:32])
    digest = loading.digest(spec, loaded, network, given.features)
    return parts.Model(cell, network, of_suite, guide, digest, about)


def _wrapped(model: torch.nn.Module, given: argparse.Namespace, few: torch.Tensor) -> Audited:
    """The model with its normalisation, on the device of `few`, images in [0, 1]."""
    model.to(few.device)
    given_mean, given_std = given.mean or [0.0] * 3, given.std or [1.0] * 3
    mean, std = (torch.tensor(values, device=few.device).view(1, 3, 1, 1) for values in (given_mean, given_std))
    try:
        alone = keeps_something(model, (few[:2] - mean) / std)
    except Exception:  # the first look says what is wrong with the model
        alone = False
    network = Audited(model, given.mean, given.std, given.features).to(few.device)
    if alone:
        print("audit: the model keeps something while it computes, so one thread at a time uses it")
        network.one_at_a_time()
    return network


def _classes(given: list[str] | None) -> list[str] | None:
    """Class names of the command, or of a file with one in each line."""
    if given is None or len(given) > 1 or not Path(given[0]).is_file():
        return given
    try:
        lines = Path(given[0]).read_text(encoding="utf-8-sig").splitlines()
    except ValueError:
        raise StudyError(f"--classes {given[0]} is not a text in UTF-8") from None
    return [line.strip() for line in lines if line.strip()]


def names_of(specs: list[str], weights: list[Path | None]) -> list[str]:
    """What the report calls the models: by their weights, their function or their file."""
    found: list[str] = []
    for spec, of_spec in zip(specs, weights, strict=True):
        plain = spec.removeprefix("timm/")
        if of_spec is not None:
            name = of_spec.stem
        elif ".py:" in spec:
            path, _, function = spec.rpartition(":")
            name = Path(path).stem if function == "load" else function
        else:
            name = Path(plain).name.removesuffix(".pt").removesuffix(".pt2")
        name = re.sub(r"[^\w.-]", "-", name).lstrip(".") or "model"
        numbered = (f"{name}-{number}" for number in itertools.count(2))
        found.append(name if name not in found else next(each for each in numbered if each not in found))
    return found
