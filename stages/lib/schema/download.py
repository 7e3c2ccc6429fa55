"""The `download` section of params.yaml: which images are studied."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stages.lib.schema.base import Section


class Download(Section):
    """`folder` is read only by the dataset of that name; `size` is the side it is resized to, in pixels."""

    dataset: Literal["cifar10", "digits", "folder"]
    folder: str | None
    size: int = Field(ge=8, le=256)
