"""Runs the study on a GPU within a time budget: recipe `gpu`, five seeds, both losses, three training sets.

It is `dvc repro` in a workspace of its own, `.gpu_study/`, seed by seed: all models of the first seed, then of the
next. When the time for models is up, it stops what runs, and compares the models of the seeds that are whole. Then it
packs `reports/`, `data/cells/`, `dvc.lock`, `params.yaml` and logs into FOLDER/gpu_study.tar.xz. It also does so after
each seed, so that a killed run loses one seed. Models and images are not packed. Started again, it takes what is done
from DVC's cache in the workspace and goes on.
`python -m bench.gpu_study [--minutes 9] [--jobs 3] [--images 10000] [--seeds 0 1 2 3 4] [--out FOLDER] [--tiny]`
"""

from __future__ import annotations

import argparse
import contextlib
import lzma
import os
import tarfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from robustness_study.attacks.catalogue import ALARMS
from robustness_study.classifier import device
from robustness_study.core.errors import StudyError
from robustness_study.core.files import replacing, write_json
from robustness_study.core.program import run
from robustness_study.datasets.base import VARIABLE
from tools import workspace
from tools.scale.plan import Plan, cores, of_repository, seed_of, slots
from tools.scale.processes import Runner, interruptible

TARGET = workspace.ROOT / ".gpu_study"
PACKED = "gpu_study.tar.xz"
SUMMARY = "gpu_study.json"
LOGS = "logs"
# Of reports/, what shows images of the dataset or is made from the rest.
NOT_PACKED = ("reports/examples", "reports/live", "reports/report.html", "reports/against.html")
LAST_SHARE = 0.3  # of the time, for the comparison and for packing
SUITE = "suite"  # takes a processor's core for long, and only `stress` waits for it
STABILITY = "stability"
OVERRIDES: dict[str, Any] = {
    "loss": "cross_entropy",
    "losses": ["cross_entropy", "angular"],
    "train_sets": ["clean", "corrupted", "adversarial"],
    "recipe": "gpu",
    # A GPU is idle most of the time with the small batches that keep a processor's cores busy.
    "evaluate.batch_size": 1000,
    "attack.batch_size": 1000,
    # An alarm ends its stage, and this run may not come again. The report lists the alarms.
    "attack.accept": sorted(ALARMS),
    "transfer.accept": ["transfer_stronger"],
}
OF_IMAGES = ("attack.images", "attack.attacks.pgd.images", "attack.attacks.apgd.images", "attack.attacks.square.images",
             "suite.images", "transfer.images")  # fmt: skip
# For trying the program: it shows that it runs, and nothing else.
TINY: dict[str, Any] = {
    "losses": ["cross_entropy"],
    "train_sets": ["clean", "adversarial"],
    "download.dataset": "digits",
    "download.size": 16,
    "split.train_share": 0.3,
    "suite.corruptions": ["fog"],
    "recipes.gpu.network": "timm/test_resnet",
    "recipes.gpu.epochs": 1,
    "recipes.gpu.batch_size": 25,
    "recipes.gpu.peak_learning_rate": 0.03,
    "recipes.gpu.watched_images": 100,
    "recipes.gpu.compile": False,
    "attack.control_images": 10,
    "attack.attacks.pgd.steps": 2,
    "attack.attacks.apgd.steps": 2,
    "attack.attacks.apgd.targets": 1,
    "attack.attacks.square.queries": 5,
    "embed.images": 60,
    "stability.seeds": [0, 1],
}


def overrides(seeds: Sequence[int], images: int, tiny: bool) -> dict[str, Any]:
    """The values of params.yaml that this study changes, by dotted keys."""
    return OVERRIDES | dict.fromkeys(OF_IMAGES, images) | {"seeds": list(seeds)} | (TINY if tiny else {})


def by_seed(keys: Iterable[str], seeds: Sequence[int]) -> dict[int, list[str]]:
    """The models of each seed, in the order of the seeds."""
    every = list(keys)
    return {seed: [key for key in every if seed_of(key) == str(seed)] for seed in seeds}


class Study:
    """The pipeline in the workspace, its models several at a time, until `ends` (of the monotonic clock)."""

    def __init__(self, root: Path, seeds: Sequence[int], jobs: int, packed: Callable[[], None]) -> None:
        self.root, self.seeds, self.packed = root, list(seeds), packed
        self.runner, self.slots = Runner(root), slots(jobs, [], cores())
        self.seconds: dict[str, float] = {}  # of each model that is done
        self.whole: list[int] = []  # the seeds whose models are all done
        (root / LOGS).mkdir(exist_ok=True)

    def repro(self, log: str, arguments: Sequence[str], settings: dict[str, str] | None = None) -> bool:
        """Run `dvc repro`; its output goes into a log and, with the log's name, to the terminal."""
        with (self.root / LOGS / f"{log}.log").open("a", encoding="utf-8") as stream:

            def told(line: str) -> None:
                stream.write(line)
                print(f"{log}: {line}", end="", flush=True)

            return self.runner.repro(arguments, settings or {}, told)

    def models(self, ends: float) -> None:
        """Every model, depth first by seed, until the time is up. Raises StudyError if a stage before them fails."""
        plan = of_repository(self.root)
        first = [name for name in plan.before if name != SUITE]
        with ThreadPoolExecutor(2) as beside, ThreadPoolExecutor(len(self.slots)) as pool:
            stopper = threading.Timer(max(0.0, ends - time.monotonic()), self.stop)
            stopper.start()
            try:
                if not self.repro("before", first):
                    if self.runner.stopped:
                        return
                    raise StudyError(f"a stage before the models failed; see {self.root / LOGS}/before.log")
                suite = beside.submit(self.repro, SUITE, ["--single-item", SUITE])
                groups = by_seed(plan.models, self.seeds)
                ordered = [key for keys in groups.values() for key in keys]
                futures = {key: pool.submit(self.model, key, plan, suite, beside) for key in ordered}
                for seed, keys in groups.items():
                    wait([futures[key] for key in keys])
                    if all(futures[key].result() for key in keys):
                        self.whole.append(seed)
                        self.packed()
            except BaseException:
                self.stop()  # the pools wait for what runs
                raise
            finally:
                stopper.cancel()

    def model(self, key: str, plan: Plan, suite: Future[bool], beside: ThreadPoolExecutor) -> bool:
        """All stages of one model; those that need no suite come first. Returns whether all of them are done."""
        settings, started, stages = self.slots[0], time.monotonic(), plan.models[key]
        at = next(place for place, name in enumerate(stages) if name.startswith("stress@"))
        if not self.repro(key, ["--single-item", *stages[:at]], settings):
            return False
        if key == next(iter(plan.models)):  # its planes take a processor's core for long, and `compare` needs them
            beside.submit(self.repro, STABILITY, ["--single-item", STABILITY])
        if not suite.result() or not self.repro(key, ["--single-item", *stages[at:]], settings):
            return False
        self.seconds[key] = round(time.monotonic() - started, 1)
        return True

    def stop(self) -> None:
        """End what runs. DVC can miss an interrupt between two stages, so it is repeated until nothing runs."""
        print("stopping what runs", flush=True)
        self.runner.stop()
        for _ in range(120):
            time.sleep(0.5)
            if not self.runner.running:
                return
            self.runner.stop()

    def compare(self, seconds: float) -> bool:
        """Compare the models of the whole seeds, and make the report. Whether that was done in time."""
        workspace.change_params(self.root / "params.yaml", {"seeds": self.whole})
        self.runner = Runner(self.root)
        stopper = threading.Timer(max(0.0, seconds), self.stop)
        stopper.start()
        try:
            return self.repro("after", [])
        finally:
            stopper.cancel()


def files_to_pack(root: Path) -> Iterator[Path]:
    """The small results, dvc.lock, params.yaml, the summary and the logs; no picture of an image of the dataset."""
    for name in ("dvc.lock", "params.yaml", "data/raw/source.json", SUMMARY):
        yield root / name
    for folder in ("reports", "data/cells", LOGS):
        for path in sorted((root / folder).rglob("*")):
            kept = not path.relative_to(root).as_posix().startswith(NOT_PACKED)
            if kept and path.is_file() and not path.name.startswith("."):  # a stage is still writing such a file
                yield path


def pack(root: Path, target: Path) -> None:
    """Write these files into one archive, which replaces the last one. Stages may run meanwhile."""
    with (
        replacing(target) as beside,
        lzma.open(beside, "wb", preset=2) as stream,  # higher ones take several times as long for a tenth of the size
        tarfile.open(fileobj=stream, mode="w|") as archive,
    ):
        for path in files_to_pack(root):
            with contextlib.suppress(FileNotFoundError):
                archive.add(path, path.relative_to(root).as_posix(), recursive=False)


def main() -> int:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # see bench/gpu
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--jobs", type=int, default=3, help="models at a time")
    parser.add_argument("--images", type=int, default=10_000, help="test images under attacks and in the suite")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", ".")), metavar="FOLDER")
    parser.add_argument("--tiny", action="store_true", help="try the program on small images; shows nothing")
    given = parser.parse_args()
    started = time.monotonic()
    if given.jobs < 1 or given.images < 1:
        raise StudyError("--jobs or --images is below 1; set both to 1 or more")
    if device.choose().type != "cuda" and not given.tiny:
        raise StudyError("there is no CUDA device here; run it on a machine that has one, or add --tiny to try it")
    if archive := os.environ.get(VARIABLE):
        os.environ[VARIABLE] = str(Path(archive).resolve())  # the stages run in another folder
    workspace.create(TARGET, overrides(given.seeds, min(given.images, 30) if given.tiny else given.images, given.tiny))
    target = given.out.resolve() / PACKED
    summary: dict[str, Any] = {"minutes": given.minutes, "jobs": given.jobs, "tiny": given.tiny, "compared": False}

    def packed() -> None:
        done = {"whole_seeds": study.whole, "seconds_of_models": study.seconds}
        write_json(TARGET / SUMMARY, summary | done | {"seconds": round(time.monotonic() - started, 1)})
        pack(TARGET, target)

    study = Study(TARGET, given.seeds, given.jobs, packed)
    whole_s = 60 * given.minutes
    try:
        with interruptible():
            study.models(started + (1 - LAST_SHARE) * whole_s)
            if study.whole:
                summary["compared"] = study.compare(0.95 * whole_s - (time.monotonic() - started))
    finally:
        study.runner.stop()
        packed()
    wanted = [seed for seed in given.seeds if seed not in study.whole]
    print(f"{target}: whole seeds {study.whole}, not whole {wanted}, compared: {summary['compared']}")
    return 0 if study.whole and summary["compared"] else 1


if __name__ == "__main__":
    run(main)
