"""`python -m tools.scale.probe`: prints what a model would be trained with here, as JSON: device, torch, precision."""

from __future__ import annotations

import json

from robustness_study.core import params
from robustness_study.core.program import run


def main() -> None:
    from robustness_study.classifier import device
    from robustness_study.schema.recipe import Recipe
    from robustness_study.training.one_model import environment_of

    recipe = params.section(f"recipes.{params.lookup(params.read(), 'recipe')}", Recipe)
    environment = environment_of(recipe, device.choose())
    print(json.dumps({name: value for name, value in environment.items() if name != "threads"}))


if __name__ == "__main__":
    run(main)
