"""Corrupt images of your own: `python -m robustness_study.corruptions IN.npz OUT.npz --corruption fog --severity 3`.

IN.npz holds `images`, uint8 N×H×H×3; OUT.npz will hold them corrupted, and whatever other arrays IN.npz has.
`--list` names all corruptions. The same seed and split make the same images again, each keyed by its index.
`--sheet IN.npz OUT.png` draws the first image under every corruption at every severity.
"""

from __future__ import annotations

import argparse
import zipfile
from pathlib import Path

import numpy as np

from robustness_study import corruptions
from robustness_study.core.errors import StudyError, run
from robustness_study.core.files import replacing


def read(path: Path) -> dict[str, np.ndarray]:
    """All arrays of the file, images among them; StudyError if it is absent or broken, or has no or no such images."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = dict(archive)
    except FileNotFoundError:
        raise StudyError(f"{path} does not exist; name a file that holds `images`, uint8 N×H×H×3") from None
    except (zipfile.BadZipFile, EOFError, ValueError, TypeError):
        raise StudyError(f"{path} is no .npz file of plain arrays; save it with numpy.savez(images=...)") from None
    if "file" in arrays:
        raise StudyError(f"{path} has an array named file, which numpy cannot save by that name; rename it")
    if not np.size(arrays.get("images", ())):
        raise StudyError(f"{path} has no images; it must hold `images`, uint8 N×H×H×3")
    return arrays


def draw_sheet(image: np.ndarray, path: str | Path, seed: int, split: str) -> None:
    """One image H×H×3 under every corruption at every severity, as a picture."""
    from robustness_study.corruptions.apply import corrupt
    from robustness_study.corruptions.contact_sheet import contact_sheet

    rows = {
        name: [image, *(corrupt(image[None], name, s, seed=seed, split=split)[0] for s in corruptions.SEVERITIES)]
        for name in corruptions.names()
    }
    contact_sheet(path, rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m robustness_study.corruptions",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", nargs="?", metavar="IN.npz", type=Path)
    parser.add_argument("target", nargs="?", metavar="OUT", type=Path)
    parser.add_argument("--corruption", choices=corruptions.names(), metavar="NAME")
    parser.add_argument("--severity", type=int, choices=corruptions.SEVERITIES, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", default="test", help="train and test images have streams of their own")
    parser.add_argument(
        "--device",
        choices=["cpu", "cuda"],
        default="cpu",
        help="cpu, or cuda: then a few values may be rounded differently",
    )
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
    import torch

    from robustness_study.corruptions.apply import check_images, corrupt

    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise StudyError("--device is cuda, but torch sees no GPU here; leave it out to use the CPU")
    arrays = read(arguments.source)
    check_images(arrays["images"])
    if arguments.sheet:
        draw_sheet(arrays["images"][0], arguments.target, arguments.seed, arguments.split)
        return
    arrays["images"] = corrupt(
        arrays["images"],
        arguments.corruption,
        arguments.severity,
        seed=arguments.seed,
        split=arguments.split,
        device=arguments.device,
    )
    with replacing(arguments.target) as beside:
        np.savez(beside, **arrays)  # type: ignore[arg-type]  # numpy types its own keyword as part of **arrays


if __name__ == "__main__":
    run(main)
