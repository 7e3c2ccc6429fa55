"""The `suite` section of params.yaml: which corruptions of test images models are scored on."""

from __future__ import annotations

from pydantic import Field, field_validator

from robustness_study.core.section import Section


class Suite(Section):
    """Each of `corruptions` at five severities, on `images` test images, stratified, the same for all."""

    corruptions: list[str] = Field(min_length=1)
    images: int = Field(ge=1)
    seed: int = Field(ge=0)

    @field_validator("corruptions")
    @classmethod
    def _once(cls, values: list[str]) -> list[str]:
        for value in values:
            if values.count(value) > 1:
                raise ValueError(f"{value} stands in it more than once; name each once")
        return values
