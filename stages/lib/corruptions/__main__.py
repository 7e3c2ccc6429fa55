"""Corrupt images of your own: `python -m stages.lib.corruptions IN.npz OUT.npz --corruption fog --severity 3`.

IN.npz holds `images`, uint8 N×H×H×3; OUT.npz will hold them corrupted, and whatever other arrays IN.npz has.
`--list` names all corruptions. The same seed and split make the same images again, each keyed by its index.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from stages.lib import corruptions
from stages.lib.errors import StudyError, run
from stages.lib.files import read_npz, write_npz


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m stages.lib.corruptions",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", nargs="?", metavar="IN.npz", type=Path)
    parser.add_argument("target", nargs="?", metavar="OUT.npz", type=Path)
    parser.add_argument("--corruption", choices=corruptions.names(), metavar="NAME")
    parser.add_argument("--severity", type=int, choices=corruptions.SEVERITIES, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", default="test", help="train and test images have streams of their own")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda: then a few values may be rounded differently")
    parser.add_argument("--list", action="store_true", help="name all corruptions, family by family")
    arguments = parser.parse_args()
    if arguments.list:
        for family, members in corruptions.FAMILIES.items():
            print(f"{family}: {', '.join(members)}")
        return
    if not (arguments.source and arguments.target and arguments.corruption):
        parser.error("IN.npz, OUT.npz and --corruption are needed")
    if arguments.target.suffix != ".npz":
        raise StudyError(f"{arguments.target} must end in .npz")
    from stages.lib.corruptions.apply import corrupt

    (images,) = read_npz(arguments.source, "images")
    with np.load(arguments.source, allow_pickle=False) as archive:
        others = {name: archive[name] for name in archive.files if name != "images"}
    corrupted = corrupt(
        images,
        arguments.corruption,
        arguments.severity,
        seed=arguments.seed,
        split=arguments.split,
        device=arguments.device,
    )
    write_npz(arguments.target, images=corrupted, **others)


if __name__ == "__main__":
    run(main)
