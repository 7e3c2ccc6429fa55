"""The `attack` section of params.yaml."""

from __future__ import annotations

from typing import Any

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from robustness_study.attacks import catalogue
from robustness_study.attacks.catalogue import ALARMS, CommonSettings, Settings

HEADLINE_EPSILONS_255 = (1, 2, 4, 8)


class Attack(CommonSettings):
    """The common settings, and a block in `attacks` for each attack that runs beside FGSM.

    The grid of examples shows `examples` images at `example_epsilon_255`; so do `embed` and the angles in attack.json.
    `accept` names the alarms that do not end the stage.
    """

    attacks: dict[str, Settings]
    examples: int = Field(ge=1, le=20)
    example_epsilon_255: int = Field(ge=1, le=255)
    accept: list[str]

    @field_validator("epsilons_255")
    @classmethod
    def _ladder(cls, values: list[int]) -> list[int]:
        if sorted(set(values)) != values or values[0] != 0 or values[-1] > 255:
            raise ValueError("whole grey levels that rise from 0 to at most 255 are allowed, as in [0, 1, 2, 4, 8]")
        absent = [str(value) for value in HEADLINE_EPSILONS_255 if value not in values]
        if absent:
            raise ValueError(f"{', '.join(absent)} must be in it: reports/metrics.json holds it as fgsm_{absent[0]}")
        return values

    @field_validator("attacks", mode="plain")
    @classmethod
    def _blocks(cls, blocks: Any) -> dict[str, Settings]:
        return catalogue.validated(blocks)

    @field_validator("accept")
    @classmethod
    def _known_alarms(cls, values: list[str]) -> list[str]:
        unknown = [value for value in values if value not in ALARMS]
        if unknown:
            raise ValueError(f"{unknown[0]} is no alarm; there are {', '.join(ALARMS)}")
        return values

    @model_validator(mode="after")
    def _fit_each_other(self) -> Attack:
        sizes = [epsilon for epsilon in self.epsilons_255 if epsilon > 0]
        found: list[InitErrorDetails] = []
        if self.example_epsilon_255 not in sizes:
            allowed = f"it must be one of {sizes}, which attack.epsilons_255 gives"
            found.append(_fault(("example_epsilon_255",), allowed, self.example_epsilon_255))
        for name, block in self.attacks.items():
            for key, allowed in block.faults(sizes, self.attacks).items():
                found.append(_fault(("attacks", name, key), allowed, getattr(block, key)))
        if found:
            raise ValidationError.from_exception_data("attack", found)
        return self


def _fault(key: tuple[str, ...], allowed: str, value: Any) -> InitErrorDetails:
    """What pydantic would say of a wrong value under a key of this section."""
    error = PydanticCustomError("does_not_fit", "{allowed}", {"allowed": allowed})
    return InitErrorDetails(type=error, loc=key, input=value)
