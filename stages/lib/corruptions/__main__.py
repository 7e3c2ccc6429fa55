"""Corrupt images of your own: `python -m stages.lib.corruptions IN.npz OUT.npz --corruption fog --severity 3`.

IN.npz holds `images`, uint8 N×H×H×3; OUT.npz will hold them corrupted, and whatever other arrays IN.npz has.
`--list` names all corruptions. The same seed and split make the same images again, each keyed by its index.
`--sheet IN.npz OUT.png` draws the first image under every corruption at every severity.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from stages.lib import corruptions
from stages.lib.errors import StudyError, run
from stages.lib.files import read_npz, write_npz


def draw_sheet(image: np.ndarray, path: str | Path, seed: int, split: str) -> None:
    """One image H×H×3 under every corruption at every severity, as a picture."""
    from stages.lib.corruptions.apply import corrupt
    from stages.lib.sheet_figure import contact_sheet

    rows = {
        name: [image, *(corrupt(image[None], name, s, seed=seed, split=split)[0] for s in corruptions.SEVERITIES)]
        for name in corruptions.names()
    }
    contact_sheet(path, rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m stages.lib.corruptions",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", nargs="?", metavar="IN.npz", type=Path)
    parser.add_argument("target", nargs="?", metavar="OUT", type=Path)
    parser.add_argument("--corruption", choices=corruptions.names(), metavar="NAME")
    parser.add_argument("--severity", type=int, choices=corruptions.SEVERITIES, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", default="test", help="train and test images have streams of their own")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda: then a few values may be rounded differently")
    parser.add_argument("--list", action="store_true", help="name all corruptions, family by family")
    parser.add_argument("--sheet", action="store_true", help="draw the first image under everything, to OUT.png")
    arguments = parser.parse_args()
    if arguments.list:
        for family, members in corruptions.FAMILIES.items():
            print(f"{family}: {', '.join(members)}")
        return
    if not (arguments.source and arguments.target and (arguments.corruption or arguments.sheet)):
        parser.error("IN.npz, OUT and --corruption (or --sheet) are needed")
    wanted = ".png" if arguments.sheet else ".npz"
    if arguments.target.suffix != wanted:
        raise StudyError(f"{arguments.target} must end in {wanted}")
    from stages.lib.corruptions.apply import check_images, corrupt

    (images,) = read_npz(arguments.source, "images")
    if arguments.sheet:
        check_images(images)
        draw_sheet(images[0], arguments.target, arguments.seed, arguments.split)
        return
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
