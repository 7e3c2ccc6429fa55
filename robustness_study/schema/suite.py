"""The `suite` section of params.yaml: the corruptions of test images on which models are scored."""

from __future__ import annotations

from pydantic import Field, field_validator

from robustness_study.core.section import Count, Section, Seed


class Suite(Section):
    """Each of `corruptions` is applied at five severities to the same `images` test images, stratified."""

    corruptions: list[str] = Field(min_length=1)
    images: Count
    seed: Seed

    @field_validator("corruptions")
    @classmethod
    def _once(cls, values: list[str]) -> list[str]:
        for value in values:
            if values.count(value) > 1:
                raise ValueError(f"{value} is listed more than once; list each only once")
        return values
