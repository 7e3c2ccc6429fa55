"""Every key of params.yaml at its smallest and largest value: refused at the start, or a study runs to its end.

The keys and their limits come from the schemas, so a new key is walked too. A key without limits needs a line in
`GIVEN`. Slow tests run whole studies, with every two values that `check` accepts together in one of them.
"""

from __future__ import annotations

import copy
import itertools
import json
import math
import os
import random
import subprocess
import sys
import typing
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from annotated_types import Ge, Gt, Le, Lt
from ruamel.yaml import YAML

from robustness_study import check as checks
from robustness_study import counts, losses, networks, training_sets
from robustness_study.attacks import catalogue
from robustness_study.classifier.precision import precision_of
from robustness_study.core import imports, params
from robustness_study.core.errors import StudyError
from robustness_study.core.section import Section
from robustness_study.schema.attack import Attack
from robustness_study.schema.embed import Embed
from robustness_study.schema.natural import Natural
from robustness_study.schema.recipe import Recipe
from robustness_study.schema.study import Study

Row = dict[str, Any]  # dotted key → value; values are lists and dictionaries too

COMMITTED = params.read(imports.ROOT / "params.yaml")
LARGEST_SEED = 2**63 - 1
ATTACKS = {
    "random_signs": {},
    "rescaled_logits": {"factors": [0.1, 10.0]},
    "pgd": {"images": 4, "epsilons_255": [1, 4], "large_epsilon_255": 16, "steps": 2, "restarts": 1},
    "apgd": {
        "images": 6,
        "epsilons_255": [1, 2, 4],
        "steps": 2,
        "targets": 1,
        "restarts": 1,
        "control_epsilon_255": 2,
    },
    "square": {"images": 4, "epsilon_255": 4, "queries": 3},
    "nearest_neighbours": {"temperature": 0.05, "control_epsilons_255": [1, 2, 4]},
}
# The study that each walk starts from: params.yaml with these values.
TINY: Row = {
    "loss": "cross_entropy",
    "losses": ["cross_entropy"],
    "train_sets": ["clean"],
    "seeds": [0],
    "recipe": "cpu",
    "download.dataset": "digits",
    "download.size": 16,
    "split.train_share": 0.6,
    "suite.corruptions": ["fog"],
    "suite.images": 12,
    "recipes.cpu.network": "timm/test_resnet",
    "recipes.cpu.epochs": 1,
    "recipes.cpu.batch_size": 8,
    "recipes.cpu.watched_images": 10,
    "attack.epsilons_255": [0, 1, 2, 4, 8, 255],
    "attack.attacks": ATTACKS,
    "attack.images": 12,
    "attack.control_images": 8,
    "attack.examples": 2,
    # Alarms are measurements: in so small a study any of them can be raised.
    "attack.accept": sorted(catalogue.ALARMS),
    "transfer.accept": ["transfer_stronger"],
    "transfer.images": 12,
    "embed.images": 20,
    "stability.seeds": [0, 1],
}
HALF = len(losses.names()) // 2
# Keys that have no smallest and largest value of their own: the values to try.
GIVEN: dict[str, list[Any]] = {
    "loss": ["the last of losses"],
    "losses": [["cross_entropy"], losses.names()[:HALF], losses.names()[HALF:]],
    "train_sets": [["augmix"], ["clean"], ["adversarial"]],
    "seeds": [[0], [LARGEST_SEED]],
    "recipe": ["cpu"],
    "natural": [[]],  # the only set needs a download; tests/test_natural.py scores a made one
    "download.dataset": ["digits"],
    "download.folder": [None],
    "download.background": ["white", "#0080ff"],
    "recipes.cpu.network": [*networks.names(), "timm/test_resnet"],
    "corrupt.before": [
        [],
        [
            {"corruption": "fog", "severity": 5, "probability": 1.0},
            {"corruption": "jpeg_compression", "severity": 1, "probability": 5e-324},
        ],
    ],
    "suite.corruptions": [["fog"], ["gaussian_noise", "speckle_noise", "mix_without_flip"]],
    "attack.epsilons_255": [[0, 1, 2, 4, 8], [0, 1, 2, 4, 8, 255]],
    "attack.attacks": [{}, ATTACKS],
    "attack.accept": [sorted(catalogue.ALARMS)],
    "attack.attacks.rescaled_logits.factors": [[0.001], [0.001, 1000.0]],
    "attack.attacks.pgd.epsilons_255": [[4], [1, 2, 4, 8, 255]],
    "attack.attacks.apgd.epsilons_255": [[2], [1, 2, 4, 8, 255]],
    "attack.attacks.nearest_neighbours.control_epsilons_255": [[1], [1, 2, 4, 8]],
    "transfer.accept": [["transfer_stronger"]],
    "stability.seeds": [[0, 1], [LARGEST_SEED, 0, 3]],
}
# Values in whole studies, where the smallest or the largest would take hours.
AFFORDABLE: dict[str, list[Any]] = {
    "download.size": [8, 17],
    "recipes.cpu.epochs": [1, 2],
    "recipes.cpu.batch_size": [2, 21],
    # Larger ones diverge in the few steps of these studies, with other extreme values; so do some with these, and then
    # the study runs again with a low one.
    "recipes.cpu.peak_learning_rate": [5e-324, 0.005],
    "recipes.cpu.momentum": [0.0, 0.9],
    "recipes.cpu.cutout_pixels": [0, 17],
    "evaluate.batch_size": [7, 1_000_000_000],
    "attack.batch_size": [5, 1_000_000_000],
    "attack.attacks.pgd.epsilons_255": [[4], [1, 255]],
    "attack.attacks.pgd.images": [1, 6],
    "attack.attacks.pgd.steps": [1, 6],
    "attack.attacks.pgd.restarts": [1, 2],
    "attack.attacks.apgd.epsilons_255": [[2], [1, 2, 255]],
    "attack.attacks.apgd.images": [1, 8],
    "attack.attacks.apgd.steps": [1, 4],
    "attack.attacks.apgd.restarts": [1, 2],
    "attack.attacks.square.queries": [1, 12],
    "attack.attacks.nearest_neighbours.control_epsilons_255": [[1], [1, 255]],
}
PARTS = 2  # of the walk, each in a process of its own
# Studies in addition to the pairs: one that diverges, the largest momentum, several models of each kind, images one by
# one.
FURTHER: list[Row] = [
    {"recipes.cpu.peak_learning_rate": 10.0, "recipes.cpu.momentum": 0.99, "recipes.cpu.epochs": 2},
    {"recipes.cpu.momentum": math.nextafter(1, 0), "recipes.cpu.peak_learning_rate": 0.1},
    {"losses": ["cosface", "cross_entropy"], "train_sets": ["corrupted", "clean"], "seeds": [LARGEST_SEED, 7]},
    {"evaluate.batch_size": 1, "attack.batch_size": 1, "recipes.cpu.network": "wide_resnet", "download.size": 8},
]


def schemas() -> dict[str, type[Section]]:
    """The schema of each block of params.yaml, by the dotted name of the block."""
    return {
        "": Study,
        ".": Natural,  # also at the top
        **checks.SECTIONS,
        "recipes.cpu": Recipe,
        **{f"loss_config.{name}": losses.config_class(name) for name in losses.names()},
        **{f"train_set_config.{name}": training_sets.config_class(name) for name in training_sets.names()},
        **{f"attack.attacks.{entry.name}": entry.settings for entry in catalogue.ATTACKS},
    }


def values_of(key: str, annotation: Any, limits: list[Any]) -> list[Any]:
    """The values of a key to try: each of a few, or the smallest and the largest."""
    if key in GIVEN:
        return GIVEN[key]
    if annotation is bool:
        return [False, True]
    if typing.get_origin(annotation) is Literal:
        return list(typing.get_args(annotation))
    whole, ends = annotation is int, {}
    for limit in limits:
        for kind, name, side, towards in ((Ge, "ge", 0, 0), (Gt, "gt", 0, 1), (Le, "le", 1, 0), (Lt, "lt", 1, -1)):
            if isinstance(limit, kind):
                end = getattr(limit, name)
                ends[side] = end + towards if whole else math.nextafter(end, end + towards) if towards else float(end)
    assert annotation in (int, float) and len(ends) == 2, f"{key} has no limits; add values for it to GIVEN"
    return [ends[0], ends[1]]


def walked(prefix: str, schema: type[Section]) -> Iterator[tuple[str, list[Any]]]:
    """Each key below a block with its values to try."""
    for name, field in schema.model_fields.items():
        key = f"{prefix}.{name}".lstrip(".")
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from walked(key, field.annotation)
        else:
            yield key, values_of(key, field.annotation, field.metadata)


KEYS: dict[str, list[Any]] = {key: values for name, schema in schemas().items() for key, values in walked(name, schema)}


def study_of(row: Row) -> dict[str, Any]:
    """The content of params.yaml for a row: the tiny study with these changes."""
    values = copy.deepcopy(COMMITTED)
    # The blocks of attacks come before their keys. A key of an attack that does not run has no place.
    for key, value in sorted((TINY | row).items(), key=lambda item: item[0].count(".")):
        *sections, name = key.split(".")
        place = values
        for section in sections:
            place = place.get(section, {})
        place[name] = copy.deepcopy(value)
    values["loss"] = values["losses"][-1]
    return values


TRAIN, TEST = [12, 12, 12], [6, 5, 5]  # images of each class


def refusal(row: Row) -> str | None:
    """What `check` or `check_sizes` says against a row, without its training step; None if it is accepted."""
    values = study_of(row)
    train, test = (np.repeat(np.arange(len(each)), each).astype(np.uint8) for each in (TRAIN, TEST))
    try:
        checks.check(values)
        recipe = Recipe.model_validate(values["recipes"]["cpu"])
        batches = {name: losses.make(name, values["loss_config"][name]).batches for name in values["losses"]}
        share = values["split"]["train_share"]
        counts.check_batches(train, share, values["seeds"], batches, "cpu", recipe.batch_size)
        counts.check_planes(test, Embed.model_validate(values["embed"]), Attack.model_validate(values["attack"]))
        precision_of(recipe.precision, torch.device("cpu"), recipe.network)
    except StudyError as error:
        return str(error)
    return None


@pytest.fixture(scope="module", autouse=True)
def _quick_checks() -> Iterator[None]:
    """The check reads source files each time; here they do not change between thousands of calls."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("robustness_study.check.project_imports", cache(imports.project_imports))
        patch.setattr(networks, "has_residual_blocks", cache(networks.has_residual_blocks))
        patch.setattr(networks, "check", cache(networks.check))
        patch.setattr(losses, "names", cache(losses.names))
        patch.setattr(training_sets, "names", cache(training_sets.names))
        patch.setattr(checks, "check_attacks", cache(checks.check_attacks))
        yield


def test_every_key_is_walked() -> None:
    """The schemas have every key of params.yaml, so the walk has them too."""
    assert set(GIVEN) <= set(KEYS) and set(AFFORDABLE) <= set(KEYS)
    assert len(KEYS) > 70 and {"corrupt.mix.color_jitter.hue", "attack.attacks.pgd.steps"} <= set(KEYS)


def test_a_key_without_limits_needs_a_line() -> None:
    with pytest.raises(AssertionError, match=r"embed\.spread has no limits; add values for it to GIVEN"):
        values_of("embed.spread", float, [Ge(0)])


@pytest.mark.parametrize("key", KEYS)
def test_a_value_at_a_limit_is_accepted_or_the_line_names_the_key(key: str) -> None:
    for value in KEYS[key]:
        said = refusal({key: value})
        assert said is None or (key.rpartition(".")[2] in said and "\n" not in said)


# --- whole studies -----------------------------------------------------------------------------------------


def affordable(key: str) -> list[Any]:
    """The values of a key in whole studies."""
    return AFFORDABLE.get(key, KEYS[key])


def chooser(key: str) -> tuple[str | None, str]:
    """The key that decides whether a study reads this key, and the name that it must have; None if all studies do."""
    for block, choice in (
        ("loss_config.", "losses"),
        ("train_set_config.", "train_sets"),
        ("attack.attacks.", "attack.attacks"),
    ):
        if key.startswith(block):
            return choice, key.removeprefix(block).split(".")[0]
    return None, ""


def used(key: str, row: Row) -> bool:
    """Whether a study reads the key: only those of its losses, training sets and attacks."""
    values = TINY | row
    choice, name = chooser(key)
    return choice is None or name in values[choice]


OPEN = sorted(key for key in KEYS if len(affordable(key)) > 1)
Value = tuple[str, int]  # a key, and the position of its value in `affordable`


def positions(row: Row) -> list[Value]:
    """The values that a study with this row reads."""
    return [(key, affordable(key).index(value)) for key, value in row.items() if used(key, row)]


def reader(key: str, row: Row) -> Row:
    """The row with the loss, the training set or the attacks that read the key."""
    choice, name = chooser(key)
    if choice is None or choice in row:
        return row
    return row | {choice: next(chosen for chosen in affordable(choice) if name in chosen)}


def start(one: Value, other: Value) -> tuple[Row | None, str]:
    """A row with both values that is accepted, with one more change if needed; or None, and why it is refused.

    The text is empty if no study reads both values.
    """
    row = {key: affordable(key)[position] for key, position in (one, other)}
    row = reader(other[0], reader(one[0], row))
    if not {one, other} <= set(positions(row)):
        return None, ""
    said = refusal(row)
    if said is None:
        return row, ""
    for key in sorted(KEYS.keys() - row.keys()):
        if key.rpartition(".")[2] in said:
            for value in affordable(key):
                if refusal(row | {key: value}) is None:
                    return row | {key: value}, ""
    return None, said


ANYWHERE = "download.size"  # the size of the images matters to every stage
CHECKS = ("check", "check_sizes", "compare", "headline")  # they read keys of other stages, but do not compute with them


@cache
def readers_of(key: str) -> frozenset[str]:
    """The stages that read a key, by dvc.yaml."""
    stages = YAML(typ="safe").load(imports.ROOT / "dvc.yaml")["stages"]
    heads = {
        name: [entry.split("${")[0] for entry in stage.get("params", []) if isinstance(entry, str)]
        for name, stage in stages.items()
        if name not in CHECKS
    }
    return frozenset(name for name, given in heads.items() if any(f"{key}.".startswith(head) for head in given))


@cache
def together(key: str, other: str) -> bool:
    """Whether a stage reads both keys at the same time.

    The keys at the top decide which models there are, so they meet every other. A loss reads its own block, and so does
    an attack, except that Square attacks images of PGD's.
    """
    if any("." not in each or each == ANYWHERE for each in (key, other)):
        return True
    (choice, block), (other_choice, other_block) = chooser(key), chooser(other)
    if choice is not None and choice == other_choice and block != other_block:
        return {block, other_block} == {"pgd", "square"}
    return bool(readers_of(key) & readers_of(other))


def pairs(row: Row) -> set[frozenset[Value]]:
    """The pairs of values that a stage of a study with this row reads together."""
    found = itertools.combinations(positions(row), 2)
    return {frozenset((one, other)) for one, other in found if together(one[0], other[0])}


def grow(row: Row, rng: random.Random, missing: set[frozenset[Value]]) -> Row:
    """The row with a value for every other key: of the accepted ones, that with most of the missing pairs."""
    # Keys that decide which others are read come first.
    for key in sorted(rng.sample(OPEN, len(OPEN)), key=lambda key: key not in GIVEN):
        if key not in row:
            there = positions(row)
            gains = {
                at: (sum(frozenset(((key, at), each)) in missing for each in there), rng.random())
                for at in range(len(affordable(key)))
            }
            for at in sorted(gains, key=gains.__getitem__, reverse=True):
                grown = row | {key: affordable(key)[at]}
                if refusal(grown) is None:
                    row = grown
                    break
    return row


@cache
def covering_rows() -> tuple[list[Row], dict[frozenset[Value], str]]:
    """Rows that `refusal` accepts, in which every accepted pair of values that are used together occurs.

    Also what it says of the others.
    """
    rng, rows, refused = random.Random(0), list[Row](), dict[frozenset[Value], str]()
    values = [[(key, at) for at in range(len(affordable(key)))] for key in OPEN]
    every = [
        pair
        for one, other in itertools.combinations(values, 2)
        if together(one[0][0], other[0][0])
        for pair in itertools.product(one, other)
    ]
    rng.shuffle(every)
    missing = {frozenset(pair) for pair in every}
    for one, other in every:
        if frozenset((one, other)) not in missing:
            continue
        row, said = start(one, other)
        if row is None:
            missing.remove(frozenset((one, other)))
            if said:
                refused[frozenset((one, other))] = said
            continue
        row = max((grow(row, rng, missing) for _ in range(4)), key=lambda each: len(pairs(each) & missing))
        missing -= pairs(row)
        rows.append(row)
    return rows, refused


def rows_of(part: int) -> list[Row]:
    return (covering_rows()[0] + FURTHER)[part::PARTS]


@pytest.mark.slow
def test_two_values_that_do_not_fit_are_refused_in_a_line_that_names_one() -> None:
    _, refused = covering_rows()
    assert refused
    for pair, said in refused.items():
        assert any(key.rpartition(".")[2] in said for key, _ in pair) and "\n" not in said, (pair, said)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_a_study_that_is_accepted_runs_to_its_end(part: int, tmp_path: Path) -> None:
    """Every two accepted values that a stage reads together occur in one of the studies."""
    rows = rows_of(part)
    studies = [[str(tmp_path / str(number)), study_of(row), TRAIN, TEST] for number, row in enumerate(rows)]
    # Not in this process: a fork of one that has computed with several threads may wait for ever.
    done = subprocess.run(
        [sys.executable, "tests/whole_study.py"],
        cwd=imports.ROOT,
        env={**os.environ, "PYTHONPATH": str(imports.ROOT)},
        input=json.dumps(studies),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    faults = dict(zip(map(str, rows), json.loads(done.stdout), strict=True))
    assert {row: fault for row, fault in faults.items() if fault} == {}
