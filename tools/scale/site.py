"""The file that describes where models run: a small YAML, or a Python file with a `parsl.Config` named `config`."""

from __future__ import annotations

import os
import runpy
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from robustness_study.core.errors import StudyError, one_line
from robustness_study.core.params import describe
from robustness_study.core.section import Section
from tools import workspace

Number = Annotated[int, Field(ge=1, le=100_000)]
LOSSES_PER_FAILURE = 1_000  # the costs of an attempt are counted in these parts of a whole


class Site(Section):
    """Where workers run, how many there are, and how data gets to them."""

    provider: Literal["slurm", "pbs", "kubernetes", "local"] = "local"
    scratch: str  # a folder for clones, best on a disk that outlives a job; $VARIABLES are those of the worker
    shares_files: bool = True  # workers see the head's repository and DVC's cache under the same paths
    remote: str | None = None  # otherwise: DVC's default remote, which carries data
    nodes: Number = 1  # the most at one time
    workers_per_node: Number = 1
    gpus_per_node: Annotated[int, Field(ge=0, le=1_000)] = 0  # each worker gets one of them
    gpus: list[str] = Field(default_factory=list)  # their names, where these are not 0, 1, …
    threads_per_worker: Number = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    walltime_minutes: Number = 60  # of a job
    partition: str | None = None  # of SLURM; the queue of PBS
    account: str | None = None
    options: list[str] = Field(
        default_factory=list
    )  # lines for the head of the job script, such as "#SBATCH --qos=long"
    prepare: str = ""  # shell commands before a worker starts
    memory: str = "8Gi"  # of a pod of Kubernetes; with SLURM and PBS, write it into `options`
    image: str | None = None  # of Kubernetes: a container with this project and its environment
    namespace: str = "default"
    address: str | None = None  # of the head, as workers reach it; Parsl finds it out if it is not given
    retries: Annotated[int, Field(ge=0, le=100)] = 1  # of a model whose stages fail
    lost_workers: Annotated[int, Field(ge=0, le=1_000)] = 10  # how often a model's worker may die
    config: Any = None  # the parsl.Config of a Python file

    @model_validator(mode="after")
    def _fits_together(self) -> Site:
        if not self.shares_files and self.remote is None:
            raise ValueError("shares_files is false, so data needs a remote; name one of `dvc remote list` in remote")
        if self.provider == "kubernetes" and self.image is None and self.config is None:
            raise ValueError("provider is kubernetes, which needs an image; name one in image")
        if self.gpus and self.gpus_per_node not in (0, len(self.gpus)):
            raise ValueError("gpus_per_node is not the number of gpus; give one of the two")
        if self.accelerators and self.workers_per_node > len(self.accelerators):
            raise ValueError("workers_per_node is more than there are GPUs; each worker needs one of its own")
        return self

    @property
    def accelerators(self) -> list[str]:
        """The names of a node's GPUs."""
        return self.gpus or [str(number) for number in range(self.gpus_per_node)]

    @property
    def workers(self) -> int:
        """The most models at a time."""
        return self.nodes * self.workers_per_node

    @property
    def settings(self) -> dict[str, str]:
        """Environment variables of the stages."""
        return {"OMP_NUM_THREADS": str(self.threads_per_worker), "STUDY_DEVICE": self.device}

    def cost(self, lost: bool) -> float:
        """What an attempt that ended badly costs of the `LOSSES_PER_FAILURE` that a model has."""
        allowed = self.lost_workers if lost else self.retries
        return LOSSES_PER_FAILURE / allowed if allowed else LOSSES_PER_FAILURE + 1


def load(path: Path) -> Site:
    """The validated site. Raises StudyError with the file, the key and what is allowed.

    A Python file has a `parsl.Config` as `config`, and the other settings as a dictionary `site`.
    """
    if not path.is_file():
        raise StudyError(f"{path} does not exist; copy an example from tools/scale/sites/ and change it")
    values: Any
    if path.suffix == ".py":
        try:
            found = runpy.run_path(str(path))
        except Exception as error:  # anything can be wrong in a person's own file
            raise StudyError(f"{path} failed ({type(error).__name__}: {one_line(str(error))}); correct it") from None
        if "config" not in found or not isinstance(found.get("site"), dict):
            raise StudyError(
                f"{path} must define `config`, a parsl.Config, and `site`, a dictionary; see docs/scale.md"
            )
        values = {**found["site"], "config": found["config"]}
    else:
        try:
            values = YAML(typ="safe", pure=True).load(path)
        except (YAMLError, UnicodeDecodeError) as error:
            raise StudyError(f"{path} is not YAML ({' '.join(str(error).split())}); correct it") from None
    if not isinstance(values, dict):
        raise StudyError(f"{path} must hold keys with values, for example `provider: slurm`; correct it")
    try:
        return Site.model_validate(values)
    except ValidationError as error:
        raise StudyError(f"{path}: " + "; ".join(describe("", error))) from None


def worker_init(site: Site) -> str:
    """The shell commands before a worker starts: the site's, then the head's environment if workers see it."""
    if not site.shares_files:
        return site.prepare
    here = workspace.environment()["PATH"].split(os.pathsep)[0]
    # After the site's commands: a module of the cluster may put another Python first.
    lines = [site.prepare, f'export PATH="{here}:$PATH"', f'export PYTHONPATH="$PYTHONPATH:{workspace.ROOT}"']
    return "\n".join(lines)
