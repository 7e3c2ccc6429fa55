"""The `download` section of params.yaml: the dataset of the study."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from robustness_study.core.section import Section


class Download(Section):
    """`dataset` is the name of a file in robustness_study/datasets. That file also checks the other two keys.

    Only the dataset `folder` reads `folder` and `background`. `size` is the width and height of the images in pixels.
    """

    dataset: str
    folder: str | None
    background: str
    size: int = Field(ge=8, le=256)

    @field_validator("background", mode="before")
    @classmethod
    def _is_a_colour(cls, value: object) -> object:
        if not isinstance(value, str) or not re.fullmatch(r"white|black|#[0-9a-fA-F]{6}", value):
            raise ValueError(
                "it must be white, black or a colour such as '#ffcc00', in quotes (without them, # begins a comment)"
            )
        return value
