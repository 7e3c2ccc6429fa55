"""The settings of each attack: its block under `attack.attacks` in params.yaml.

This file imports no torch, because `check` and the report read it.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, field_validator

from robustness_study.core.section import Count, Section
from robustness_study.schema.attack import ROBUST_EPSILON_255


class Settings(Section):
    """An attack's block in params.yaml. An attack without settings uses this class as it is."""

    def faults(self, epsilons_255: list[int], blocks: Mapping[str, Settings]) -> dict[str, str]:
        """Settings that do not fit the other settings: the key → what is allowed there.

        `epsilons_255` are the values of `attack.epsilons_255` without 0; `blocks` are those of all attacks that run.
        """
        return {}


class RescaledLogits(Settings):
    """The factors that the logits are multiplied by."""

    factors: list[float] = Field(min_length=1)

    @field_validator("factors")
    @classmethod
    def _distinct(cls, values: list[float]) -> list[float]:
        named = {f"{value:g}" for value in values}
        if min(values) < 0.001 or max(values) > 1000 or "1" in named or len(named) < len(values):
            raise ValueError("factors must be from 0.001 to 1000, not 1, and all different, as in [0.1, 10]")
        return values


class ProjectedGradientDescent(Settings):
    """PGD attacks `images` of the attacked images. Almost none should stay correct at `large_epsilon_255`."""

    images: Count
    epsilons_255: list[int] = Field(min_length=1)
    large_epsilon_255: int = Field(ge=1, le=255)
    steps: int = Field(ge=1, le=10_000)
    restarts: int = Field(ge=1, le=1000)

    def faults(self, epsilons_255: list[int], blocks: Mapping[str, Settings]) -> dict[str, str]:
        """Each epsilon must be in attack.epsilons_255, so that FGSM has the same one."""
        return rising_among("epsilons_255", self.epsilons_255, epsilons_255)


class AutoPGD(Settings):
    """APGD attacks `images` of the attacked images. The search towards each of the `targets` likeliest wrong classes
    is on images that stay correct under the cross-entropy. Controls run at `control_epsilon_255`.
    """

    images: Count
    epsilons_255: list[int] = Field(min_length=1)
    steps: int = Field(ge=1, le=10_000)
    targets: int = Field(ge=1, le=1000)
    restarts: int = Field(ge=1, le=1000)
    control_epsilon_255: int = Field(ge=1, le=255)

    def faults(self, epsilons_255: list[int], blocks: Mapping[str, Settings]) -> dict[str, str]:
        """Each epsilon must be in attack.epsilons_255. That of robust_2 must be there. The control's is one of them."""
        if ROBUST_EPSILON_255 not in self.epsilons_255:
            needed = f"add {ROBUST_EPSILON_255}; reports/metrics.json reports it as robust_{ROBUST_EPSILON_255}"
            return {"epsilons_255": needed}
        if found := rising_among("epsilons_255", self.epsilons_255, epsilons_255):
            return found
        if self.control_epsilon_255 not in self.epsilons_255:
            return {"control_epsilon_255": f"it must be one of apgd's epsilons_255 ({self.epsilons_255})"}
        return {}


class Square(Settings):
    """Square attacks the images that stay correct under APGD, among `images` of those that APGD attacks.

    It queries the logits of each at most `queries` times.
    """

    images: Count
    epsilon_255: int = Field(ge=1, le=255)
    queries: int = Field(ge=1, le=10_000)

    def faults(self, epsilons_255: list[int], blocks: Mapping[str, Settings]) -> dict[str, str]:
        """The epsilon must be one of APGD's if APGD runs, or else one of attack.epsilons_255."""
        apgd = blocks.get("apgd")
        allowed = apgd.epsilons_255 if isinstance(apgd, AutoPGD) else epsilons_255
        if self.epsilon_255 in allowed:
            return {}
        whose = "apgd's epsilons_255" if "apgd" in blocks else "attack.epsilons_255"
        return {"epsilon_255": f"it must be one of {whose} ({allowed})"}


class NearestNeighbours(Settings):
    """`temperature` divides the stand-in's cosines. Other gradients are tried at `control_epsilons_255`."""

    temperature: float = Field(ge=0.001, le=100)
    control_epsilons_255: list[int] = Field(min_length=1)

    def faults(self, epsilons_255: list[int], blocks: Mapping[str, Settings]) -> dict[str, str]:
        """Each epsilon must be in attack.epsilons_255, so that the attack itself has the same one."""
        return rising_among("control_epsilons_255", self.control_epsilons_255, epsilons_255)


def rising_among(key: str, values: list[int], allowed: list[int]) -> dict[str, str]:
    """Empty if the values rise and are all in `allowed`; otherwise `key` → what is allowed."""
    if sorted(set(values)) == values and set(values) <= set(allowed):
        return {}
    return {key: f"the values must rise and be among {allowed}, which attack.epsilons_255 gives"}
