"""The `attack` section of params.yaml."""

from __future__ import annotations

from typing import Any

from pydantic import Field, ValidationInfo, field_validator

from robustness_study.core.section import Count, Section, Seed
from robustness_study.core.subsets import count_of

HEADLINE_EPSILONS_255 = (1, 2, 4, 8)  # of FGSM
ROBUST_EPSILON_255 = 2  # of the worst case


class Attack(Section):
    """Settings that all attacks share. `attacks` has a block for each attack that runs in addition to FGSM.

    `images` is the number of attacked test images, stratified; a recipe may use a share of them, and of every attack's
    `images` (`evidence_share`). Attacks that serve as controls use `control_images` of
    them. `epsilons_255` are the sizes of the attack, in units of 1/255. The grid of examples shows `examples` images at
    `example_epsilon_255`; `embed` and the angles in attack.json use this size as well. `accept` lists the alarms that
    do not stop the stage. robustness_study/attacks/catalogue.py defines and checks the blocks and the alarms.
    """

    epsilons_255: list[int] = Field(min_length=1)
    images: Count
    control_images: Count
    batch_size: Count
    seed: Seed
    attacks: dict[str, dict[str, Any]]
    examples: int = Field(ge=1, le=20)
    example_epsilon_255: int = Field(ge=1, le=255)
    accept: list[str]

    @field_validator("epsilons_255")
    @classmethod
    def _ladder(cls, values: list[int]) -> list[int]:
        if sorted(set(values)) != values or values[0] != 0 or values[-1] > 255:
            raise ValueError("it must hold rising whole numbers from 0 to at most 255, for example [0, 1, 2, 4, 8]")
        absent = [str(value) for value in HEADLINE_EPSILONS_255 if value not in values]
        if absent:
            raise ValueError(f"add {', '.join(absent)}; reports/metrics.json reports it as fgsm_{absent[0]}")
        return values

    @field_validator("example_epsilon_255")
    @classmethod
    def _is_attacked(cls, value: int, others: ValidationInfo) -> int:
        ladder = others.data.get("epsilons_255", [value])
        if value not in ladder:
            raise ValueError(f"it must be one of attack.epsilons_255, {ladder}")
        return value

    def with_share(self, share: float) -> Attack:
        """The same attacks on a share of the images, above 0 and at most 1."""
        blocks = {
            name: block | ({"images": count_of(share, block["images"])} if "images" in block else {})
            for name, block in self.attacks.items()
        }
        fewer = {key: count_of(share, getattr(self, key)) for key in ("images", "control_images")}
        return self.model_copy(update={**fewer, "attacks": blocks})

    def sizes(self) -> list[int]:
        """The values of `epsilons_255` without 0."""
        return [epsilon for epsilon in self.epsilons_255 if epsilon > 0]
