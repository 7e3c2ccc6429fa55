"""Stage `corrupt@SPLIT`: every raw image → its corrupted copy, aligned with it by index.

Out: `data/corrupted/{train,test}.npz` with `images` uint8 N×H×W×3, rounded, and what was applied to each
image. No labels and no split: any seed's split cuts this file as it cuts the clean images.
"""

from __future__ import annotations

import argparse

import numpy as np

from robustness_study.core import params
from robustness_study.core.errors import run
from robustness_study.core.files import read_npz, write_npz
from robustness_study.core.seeds import derive_seed, streams
from robustness_study.corruptions.mix import draw_mix, draw_noise, mix
from robustness_study.schema.corrupt import Corrupt, Mix, Named

CHUNK = 1000  # images in memory as floats at a time; no effect on the result


def corrupt(images: np.ndarray, strengths: Mix, seed: int, split: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """uint8 N×H×W×3 → the corrupted copies, rounded, and the draws, arrays of length N."""
    draws = draw_mix(np.arange(len(images)), strengths, seed, split)
    corrupted = np.empty_like(images)
    for start in range(0, len(images), CHUNK):
        chunk = slice(start, start + CHUNK)
        floats = images[chunk].transpose(0, 3, 1, 2).astype(np.float32) / 255
        indices = np.arange(start, start + len(floats))
        noise = draw_noise(indices, strengths.gaussian_noise.sigma, seed, split, floats.shape[1:])
        mixed = mix(floats, {name: values[chunk] for name, values in draws.items()}, noise)
        corrupted[chunk] = np.rint(mixed * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    return corrupted, draws


def apply_named(images: np.ndarray, before: list[Named], seed: int, split: str) -> np.ndarray:
    """uint8 N×H×W×3 → copies under the named corruptions, one after the other, each on its share of the images."""
    if not before:
        return images
    # torch takes seconds to import, and the mix alone needs none.
    from robustness_study.corruptions.apply import corrupt as under

    images = images.copy()
    for place, named in enumerate(before):
        lots = streams(np.arange(len(images)), seed, split, "before", place, named.corruption)
        (chosen,) = np.nonzero([rng.random() < named.probability for rng in lots])
        own = derive_seed(seed, "before", place)  # twice the same corruption is twice another draw
        images[chosen] = under(images[chosen], named.corruption, named.severity, seed=own, split=split, indices=chosen)
    return images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", choices=["train", "test"], required=True)
    split = parser.parse_args().split
    section = params.section("corrupt", Corrupt)
    (images,) = read_npz(f"data/raw/{split}.npz", "images")
    print(f"corrupt {split}: {len(images)} images", flush=True)
    named = apply_named(images, section.before, section.seed, split)
    corrupted, draws = corrupt(named, section.mix, section.seed, split)
    write_npz(f"data/corrupted/{split}.npz", images=corrupted, **draws)
    change = np.abs(corrupted.astype(np.int16) - images).mean()
    print(f"corrupt {split}: mean absolute change {change:.1f} grey levels")


if __name__ == "__main__":
    run(main)
