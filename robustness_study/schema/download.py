"""The `download` section of params.yaml: which images are studied."""

from __future__ import annotations

from pydantic import Field

from robustness_study.core.section import Section


class Download(Section):
    """`dataset` is the name of a file in robustness_study/datasets, which also says what it needs of the rest.

    `folder` is read by the dataset of that name alone; `size` is the side of the images, in pixels.
    """

    dataset: str
    folder: str | None
    size: int = Field(ge=8, le=256)
