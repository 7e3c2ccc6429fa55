"""The `suite` section of params.yaml: which corruptions of test images models are scored on."""

from __future__ import annotations

from pydantic import Field, field_validator

from robustness_study.core.section import Section
from robustness_study.corruptions import CIFAR_10_C, HELD_OUT, names


class Suite(Section):
    """Each of `corruptions` at five severities, on `images` test images, stratified, the same for all."""

    corruptions: list[str] = Field(min_length=1)
    images: int = Field(ge=1)
    seed: int = Field(ge=0)

    @field_validator("corruptions")
    @classmethod
    def _known_once(cls, values: list[str]) -> list[str]:
        for value in values:
            if value not in names():
                raise ValueError(f"{value!r} does not exist; there are {', '.join(names())}")
            if values.count(value) > 1:
                raise ValueError(f"{value} stands in it more than once; name each once")
        benchmark = (*CIFAR_10_C, *HELD_OUT)
        if not set(values) & set(benchmark):
            raise ValueError(f"it has none of CIFAR-10-C's corruptions; name one of {', '.join(benchmark)}")
        return values
