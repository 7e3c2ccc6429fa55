"""The settings of an audit: those of the study's params.yaml, so that figures can be compared with the study's.

`--quick` uses fewer images. Nothing else differs, so a quick figure is the same measurement with a wider interval.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from robustness_study.attacks import catalogue
from robustness_study.attacks.settings import Settings as AttackSettings
from robustness_study.check import check_corruptions
from robustness_study.core import params
from robustness_study.schema.attack import Attack
from robustness_study.schema.corrupt import Corrupt
from robustness_study.schema.embed import Embed
from robustness_study.schema.evaluate import Evaluate
from robustness_study.schema.suite import Suite

SECTIONS = ("corrupt", "suite", "evaluate", "attack", "embed")
NEEDS_TRAINING_IMAGES = "nearest_neighbours"  # the attack on neighbours among training images, which nobody knows here
QUICK: dict[str, int] = {  # numbers of images; none is raised
    "suite.images": 150,
    "attack.images": 500,
    "attack.control_images": 100,
    "attack.attacks.pgd.images": 40,
    "attack.attacks.apgd.images": 150,
    "attack.attacks.square.images": 20,
    "embed.images": 1000,
}
QUICK_TEST_IMAGES = 2000
USUAL_SIDE = 32  # pixels; batches of larger images have fewer, so that they need as much memory


@dataclass(frozen=True)
class Settings:
    """The sections of params.yaml that an audit reads, and how many of the test images it uses (None: all)."""

    corrupt: Corrupt
    suite: Suite
    evaluate: Evaluate
    attack: Attack
    embed: Embed
    test_images: int | None
    natural: tuple[str, ...] = ()

    @property
    def attacks(self) -> dict[str, AttackSettings]:
        """The validated blocks of the attacks that run beside FGSM."""
        return catalogue.settings_of(self.attack)

    def as_dict(self) -> dict[str, Any]:
        """All settings, for the report."""
        found = {name: getattr(self, name).model_dump() for name in SECTIONS}
        return {**found, "natural": list(self.natural), "test_images": self.test_images}


def settings_of(values: dict[str, Any], quick: bool, natural: tuple[str, ...], side: int) -> Settings:
    """The settings from the content of params.yaml, for images `side` pixels wide.

    Raises StudyError, with the key, if one is wrong.
    """
    chosen = {name: copy.deepcopy(params.lookup(values, name)) for name in SECTIONS}
    attacks = chosen["attack"].get("attacks") if isinstance(chosen["attack"], dict) else None
    if isinstance(attacks, dict):
        attacks.pop(NEEDS_TRAINING_IMAGES, None)
    if quick:
        _lower(chosen)
    for name in ("evaluate", "attack"):
        _fewer_at_once(chosen[name], side)
    found = Settings(
        corrupt=params.validated("corrupt", chosen["corrupt"], Corrupt),
        suite=params.validated("suite", chosen["suite"], Suite),
        evaluate=params.validated("evaluate", chosen["evaluate"], Evaluate),
        attack=params.validated("attack", chosen["attack"], Attack),
        embed=params.validated("embed", chosen["embed"], Embed),
        test_images=QUICK_TEST_IMAGES if quick else None,
        natural=natural,
    )
    _ = found.attacks  # a mistake in a block is told now
    check_corruptions(found.suite.corruptions, [each.corruption for each in found.corrupt.before])
    return found


def _lower(chosen: dict[str, Any]) -> None:
    for name, most in QUICK.items():
        *path, key = name.split(".")
        place: Any = chosen
        for part in path:
            place = place.get(part) if isinstance(place, dict) else None
        if isinstance(place, dict) and isinstance(place.get(key), int):
            place[key] = min(place[key], most)


def _fewer_at_once(section: Any, side: int) -> None:
    if isinstance(section, dict) and isinstance(section.get("batch_size"), int) and side > USUAL_SIDE:
        section["batch_size"] = max(1, int(section["batch_size"] * USUAL_SIDE**2 / side**2))
