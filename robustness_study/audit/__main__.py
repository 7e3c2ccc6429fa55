"""The robustness of your own model: `python -m robustness_study.audit my_model.py:load --weights W --images I --out O`.

A model is named as one of
  FILE.py:FUNCTION   a function of yours, FUNCTION(weights) -> torch.nn.Module, that returns logits for float32 images
                     N×3×S×S in [0, 1]; without --weights it is called without an argument
  timm/NAME          a network of timm, with --weights
  FILE.pt, FILE.pt2  a model of TorchScript, or of torch.export
  models/KEY         a model that the pipeline trained
Name several to compare them on the same images; then give as many --weights, in this order, with - for none.

Run it in the repository: the settings are those of params.yaml. Run the same command again to go on after a stop.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

from robustness_study.core import params
from robustness_study.core.errors import one_line
from robustness_study.core.program import run


class Parser(argparse.ArgumentParser):
    """Reports an error in one line, without the usage text."""

    def error(self, message: str) -> NoReturn:
        """Print one line to stderr and exit with status 2."""
        self.exit(2, f"error: {one_line(message)}; see --help\n")


def arguments() -> argparse.Namespace:
    """The parsed arguments. A wrong one ends the program with one line."""
    parser = Parser(
        prog="python -m robustness_study.audit",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument(
        "--images", required=True, metavar="WHAT", help="cifar10, digits, a folder of class folders, or an .npz file"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="FOLDER", help="where everything is written")
    parser.add_argument(
        "--weights", nargs="+", default=[], metavar="FILE", help="safetensors, or torch.save of tensors"
    )
    parser.add_argument("--quick", action="store_true", help="fewer images: faster, with wider intervals")
    parser.add_argument(
        "--classes", nargs="+", metavar="NAME", help="class names in the order of the outputs, or a file, one per line"
    )
    parser.add_argument("--size", type=int, metavar="PIXELS", help="width of a folder's images, at most 224")
    parser.add_argument("--mean", nargs=3, type=float, metavar="M", help="for a model that wants normalised images")
    parser.add_argument("--std", nargs=3, type=float, metavar="S", help="the standard deviations that go with it")
    parser.add_argument("--features", metavar="MODULE", help="its input is the features; usual: the last linear layer")
    parser.add_argument("--names", nargs="+", default=[], metavar="NAME", help="what the report calls the models")
    parser.add_argument("--natural", nargs="+", default=[], metavar="SET", help="natural sets, such as cifar10_1")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="settings (params.yaml)")
    found = parser.parse_args()
    for name in ("weights", "names"):
        given = getattr(found, name)
        if given and len(given) != len(found.models):
            parser.error(f"{len(found.models)} models but {len(given)} --{name}: give one for each model, in order")
    if (found.mean is None) != (found.std is None):
        parser.error("--mean and --std belong together: give both")
    if found.std and min(found.std) <= 0:
        parser.error("--std must be above 0")
    if found.size is not None and not 8 <= found.size <= 224:
        parser.error(f"--size is {found.size}; it must be 8 to 224")
    if found.out.exists() and not found.out.is_dir():
        parser.error(f"--out {found.out} is not a folder")
    return found


def main() -> None:
    """Audit what the arguments name."""
    given = arguments()
    values = params.read(given.params)
    from robustness_study.audit import whole

    whole.audit(given, values)


if __name__ == "__main__":
    run(main)
