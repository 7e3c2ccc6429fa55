"""The list `natural` of params.yaml: test images of a natural shift, on which models are scored as well."""

from __future__ import annotations

from robustness_study.core.section import Names, Section


class Natural(Section):
    """Each name in `natural` is a file in robustness_study/natural. An empty list turns this off."""

    natural: Names
