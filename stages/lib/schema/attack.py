"""The `attack` section of params.yaml."""

from __future__ import annotations

from pydantic import Field, field_validator

from stages.lib.schema.base import Section

HEADLINE_EPSILONS_255 = (1, 2, 4, 8)


class Attack(Section):
    """`epsilons_255` are the attack's sizes in grey levels; `images` test images are attacked, stratified."""

    epsilons_255: list[int] = Field(min_length=1)
    images: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    seed: int = Field(ge=0)
    examples: int = Field(ge=1, le=20)
    example_epsilon_255: int = Field(ge=1, le=255)

    @field_validator("epsilons_255")
    @classmethod
    def _ladder(cls, values: list[int]) -> list[int]:
        if sorted(set(values)) != values or values[0] != 0 or values[-1] > 255:
            raise ValueError("whole grey levels that rise from 0 to at most 255 are allowed, as in [0, 1, 2, 4, 8]")
        absent = [str(value) for value in HEADLINE_EPSILONS_255 if value not in values]
        if absent:
            raise ValueError(f"{', '.join(absent)} must be in it: reports/metrics.json holds it as fgsm_{absent[0]}")
        return values
