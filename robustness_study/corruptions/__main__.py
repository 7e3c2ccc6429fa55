"""Corrupt images of your own: `corrupt-images IN.npz OUT.npz --corruption fog --severity 3`.

IN.npz holds `images`, uint8 N×H×H×3. OUT.npz gets them corrupted, and the other arrays of IN.npz unchanged.
The same seed and split give the same images again: an image's random numbers depend on them and on its index.

  --list                         names all corruptions
  --sheet IN.npz OUT.png         draws the first image under every corruption at every severity

`python -m robustness_study.corruptions` is the same command.
"""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import numpy as np

from robustness_study import corruptions
from robustness_study.core.errors import StudyError, run
from robustness_study.core.files import replacing

OF_SAVEZ = ("file", "allow_pickle")  # arguments of numpy.savez, so no names of arrays


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        """Exit with status 2."""
        self.exit(2, f"error: {message}; --help says more\n")


def read(path: Path) -> dict[str, np.ndarray]:
    """All arrays of the file, `images` among them. Raises StudyError if it cannot be read or has no images."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = dict(archive)
    except FileNotFoundError:
        raise StudyError(f"{path} does not exist; name a file that holds `images`, uint8 N×H×H×3") from None
    except (OSError, MemoryError):
        raise
    except Exception:  # numpy and zipfile raise many kinds for a broken file
        raise StudyError(f"{path} is no .npz file of plain arrays; save it with numpy.savez(images=...)") from None
    for name in OF_SAVEZ:
        if name in arrays:
            raise StudyError(f"{path} has an array named {name}, which numpy cannot save by that name; rename it")
    if not np.size(arrays.get("images", ())):
        raise StudyError(f"{path} has no images; it must hold `images`, uint8 N×H×H×3")
    return arrays


def draw_sheet(image: np.ndarray, path: str | Path, seed: int, split: str) -> None:
    """Draw one image uint8 H×H×3 under every corruption at every severity, as a picture. Needs matplotlib."""
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
    """The command's arguments, parsed; any that is wrong ends the command."""
    parser = Parser(prog="corrupt-images", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", metavar="IN.npz", type=Path)
    parser.add_argument("target", nargs="?", metavar="OUT", type=Path)
    parser.add_argument("--corruption", choices=corruptions.names(), metavar="NAME")
    parser.add_argument("--severity", type=int, choices=corruptions.SEVERITIES, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", default="test", help="train and test images get different random numbers")
    parser.add_argument(
        "--device", choices=["cpu", "cuda"], default="cpu", help="on cuda a few values may be rounded differently"
    )
    parser.add_argument("--list", action="store_true", help="name all corruptions, family by family")
    parser.add_argument("--sheet", action="store_true", help="draw the first image under everything, to OUT.png")
    arguments = parser.parse_args()
    if arguments.list:
        return arguments
    if not (arguments.source and arguments.target and (arguments.corruption or arguments.sheet)):
        parser.error("IN.npz, OUT and --corruption (or --sheet) are needed")
    wanted = ".png" if arguments.sheet else ".npz"
    if arguments.target.suffix != wanted:
        parser.error(f"{arguments.target} must end in {wanted}")
    return arguments


def main() -> None:
    arguments = arguments_of_command()
    if arguments.list:
        for family, members in corruptions.families().items():
            print(f"{family}: {', '.join(members)}")
        return
    if arguments.sheet and find_spec("matplotlib") is None:
        raise StudyError("--sheet needs matplotlib; type pip install 'robustness-study[pictures]'")
    arrays = read(arguments.source)
    import torch

    from robustness_study.corruptions.apply import check_images

    check_images(arrays["images"])
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise StudyError("--device is cuda, but torch sees no GPU here; leave it out to use the CPU")
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
    with replacing(arguments.target) as beside:
        np.savez(beside, **arrays)  # type: ignore[arg-type]  # numpy types its own keyword as part of **arrays


def command() -> None:
    """The entry point `corrupt-images`: ends with one line on stderr if something is wrong."""
    try:
        run(main)
    except MemoryError:
        sys.exit("error: the images do not fit into memory; put fewer of them into a file")


if __name__ == "__main__":
    command()
