"""Stage `check_sizes`: checks that params.yaml fits the dataset, before anything that takes time.

Reads the labels and the class names in `data/raw/`. Writes `data/sizes_checked.txt`, on which all later work depends.
Numbers of images must suffice for batches and for UMAP planes. The network must be able to train on images of this
size, which one step with each loss shows.
"""

from __future__ import annotations

from robustness_study import counts, losses
from robustness_study.core import params
from robustness_study.core.files import read_npz, read_record, write_text
from robustness_study.core.program import run
from robustness_study.schema.attack import Attack
from robustness_study.schema.embed import Embed
from robustness_study.schema.recipe import Recipe
from robustness_study.schema.split import Split

MARKER = "data/sizes_checked.txt"


def main() -> None:
    """The numbers first: they need no torch, whose import takes seconds."""
    values = params.read()
    seeds, recipe_name = params.lookup(values, "seeds"), params.lookup(values, "recipe")
    recipe = params.section(f"recipes.{recipe_name}", Recipe)
    configs = params.lookup(values, "loss_config")
    chosen = [losses.make(name, configs[name]) for name in params.lookup(values, "losses")]
    (train_labels,) = read_npz("data/raw/train.npz", "labels")
    (test_labels,) = read_npz("data/raw/test.npz", "labels")
    batches = {loss.name: loss.batches for loss in chosen}
    share = params.section("split", Split).train_share
    counts.check_batches(train_labels, share, seeds, batches, recipe_name, recipe.batch_size)
    attack = params.section("attack", Attack).with_share(recipe.evidence_share)
    counts.check_planes(test_labels, params.section("embed", Embed), attack)

    from robustness_study.classifier import device
    from robustness_study.training.trial import try_to_train

    on, source = device.choose(), read_record("data/raw/source.json", "size", "classes")
    for loss in chosen:
        try_to_train(recipe_name, recipe, loss, source["size"], len(source["classes"]), on)
    # Always the same text: changed params that still fit the dataset re-run no stage through this file.
    write_text(MARKER, "params.yaml fits the dataset\n")


if __name__ == "__main__":
    run(main)
