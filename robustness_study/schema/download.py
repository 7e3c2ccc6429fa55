"""The `download` section of params.yaml: the dataset of the study."""

from __future__ import annotations

from pydantic import Field

from robustness_study.core.section import Section


class Download(Section):
    """`dataset` is the name of a file in robustness_study/datasets. That file also checks the other two keys.

    Only the dataset `folder` reads `folder`. `size` is the width and height of the images in pixels.
    """

    dataset: str
    folder: str | None
    size: int = Field(ge=8, le=256)
