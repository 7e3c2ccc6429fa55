"""Corrupt your own images: `corrupt-images IN.npz OUT.npz --corruption fog --severity 3`.

IN.npz holds `images`, uint8 N×H×H×3. OUT.npz gets the corrupted images, and the other arrays of IN.npz unchanged.
The same seed and split give the same images again. Each image has its own random numbers, which depend on its index.

  --list                         lists the names of all corruptions
  --sheet IN.npz OUT.png         draws a picture of the first image under every corruption at every severity

`python -m robustness_study.corruptions` runs the same command.
"""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import numpy as np

from robustness_study import corruptions
from robustness_study.core.errors import StudyError, one_line
from robustness_study.core.files import read_arrays, replacing
from robustness_study.core.program import run

SAVEZ_ARGUMENTS = ("file", "allow_pickle")  # arguments of numpy.savez, so arrays cannot have these names


class Parser(argparse.ArgumentParser):
    """Reports an error in one line, without the usage text."""

    def error(self, message: str) -> NoReturn:
        """Print one line to stderr and exit with status 2."""
        self.exit(2, f"error: {one_line(message)}; see --help\n")


def read(path: Path) -> dict[str, np.ndarray]:
    """All arrays of the file, by name. Raises StudyError if the file cannot be read or has no array `images`."""
    try:
        arrays = read_arrays(path, "make it with numpy.savez(path, images=...)")
    except FileNotFoundError:
        raise StudyError(f"{path} does not exist; give a file with the array `images`, uint8 N×H×H×3") from None
    for name in SAVEZ_ARGUMENTS:
        if name in arrays:
            raise StudyError(f"{path} has an array named {name}, and numpy.savez does not allow this name; rename it")
    if not np.size(arrays.get("images", ())):
        raise StudyError(f"{path} has no images; it must hold the array `images`, uint8 N×H×H×3")
    return arrays


def draw_sheet(image: np.ndarray, path: str | Path, seed: int, split: str) -> None:
    """Draw a picture of one image, uint8 H×H×3, under every corruption at every severity. Needs matplotlib."""
    from robustness_study.corruptions.contact_sheet import contact_sheet

    rows = {
        name: [
            image,
            *(corruptions.corrupt(image[None], name, s, seed=seed, split=split)[0] for s in corruptions.SEVERITIES),
        ]
        for name in corruptions.names()
    }
    contact_sheet(path, rows)


def arguments_of_command() -> argparse.Namespace:
    """The parsed arguments of the command. A wrong argument ends the command with one line."""
    parser = Parser(prog="corrupt-images", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", metavar="IN.npz", type=Path)
    parser.add_argument("target", nargs="?", metavar="OUT", type=Path)
    parser.add_argument("--corruption", choices=corruptions.names(), metavar="NAME")
    parser.add_argument("--severity", type=int, choices=corruptions.SEVERITIES, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", default="test", help="a name such as train or test, with its own random numbers")
    parser.add_argument(
        "--device", choices=["cpu", "cuda"], default="cpu", help="on cuda a few values may be rounded differently"
    )
    parser.add_argument("--list", action="store_true", help="list the names of all corruptions by family")
    parser.add_argument("--sheet", action="store_true", help="draw the first image under all corruptions, to OUT.png")
    arguments = parser.parse_args()
    if arguments.list:
        return arguments
    if not (arguments.source and arguments.target and (arguments.corruption or arguments.sheet)):
        parser.error("IN.npz, OUT and --corruption (or --sheet) are required")
    wanted = ".png" if arguments.sheet else ".npz"
    if arguments.target.suffix != wanted:
        parser.error(f"the output file is {arguments.target}, but its name must end in {wanted}")
    return arguments


def main() -> None:
    arguments = arguments_of_command()
    if arguments.list:
        for family, members in corruptions.families().items():
            print(f"{family}: {', '.join(members)}")
        return
    if arguments.sheet and find_spec("matplotlib") is None:
        raise StudyError("--sheet needs matplotlib; install it with: pip install 'robustness-study[pictures]'")
    arrays = read(arguments.source)
    import torch

    from robustness_study.corruptions.apply import check_images

    check_images(arrays["images"])
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise StudyError("--device is cuda, but torch finds no GPU; leave --device out to use the CPU")
    if arguments.sheet:
        draw_sheet(arrays["images"][0], arguments.target, arguments.seed, arguments.split)
        return
    arrays["images"] = corruptions.corrupt(
        arrays["images"],
        arguments.corruption,
        arguments.severity,
        seed=arguments.seed,
        split=arguments.split,
        device=arguments.device,
    )
    with replacing(arguments.target) as temporary:
        np.savez(temporary, **arrays)  # type: ignore[arg-type]  # numpy types its own keyword as part of **arrays


def command() -> None:
    """The entry point of `corrupt-images`. An error ends it with one line on stderr."""
    try:
        run(main)
    except MemoryError:
        sys.exit("error: the images do not fit into memory; split them into several smaller files")


if __name__ == "__main__":
    command()
