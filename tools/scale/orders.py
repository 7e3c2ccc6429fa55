"""What the head tells the workers: the snapshot of the working tree, where data is, and each model's stages."""

from __future__ import annotations

import configparser
import hashlib
import shutil
from pathlib import Path
from typing import Any

from robustness_study.core.errors import StudyError
from tools import workspace
from tools.scale.board import FOLDER
from tools.scale.fleet import Environment
from tools.scale.plan import Plan
from tools.scale.site import Site
from tools.scale.work import Order


class Orders:
    """The orders for the models `todo` of the repository at `root`."""

    def __init__(self, root: Path, site: Site, planned: Plan, todo: list[str]) -> None:
        self.root, self.site, self.planned, self.todo = root.resolve(), site, planned, todo
        from dvc.repo import Repo

        with Repo(str(root)) as repository:
            self.inputs = inputs(repository, planned, todo)
            self.dvc_settings = dvc_settings(self.root, repository, site)
        self.revision, self.bundle = snapshot(self.root)
        # Two repositories may share a scratch folder.
        name = f"{self.root.name}-{hashlib.sha256(str(self.root).encode()).hexdigest()[:8]}"
        self.scratch = f"{site.scratch}/{name}"

    def order(self, key: str, expected: Environment | None) -> Order:
        """What the worker that gets the model `key` needs to know."""
        shared = self.site.shares_files
        return Order(
            key=key,
            stages=tuple(self.planned.on_workers(key)) if key in self.planned.models else (),
            inputs=self.inputs.get(key, ()),
            revision=self.revision,
            bundle=str(self.bundle) if shared else self.bundle.read_bytes(),
            scratch=self.scratch,
            dvc_settings=self.dvc_settings,
            has_remote=self.site.remote is not None,
            settings=self.site.settings,
            expected=expected,
            notes=str(self.root / FOLDER / "running") if shared else "",
        )

    def probe(self) -> Order:
        """The order to say what models are trained with."""
        return self.order("probe", None)


def inputs(repository: Any, planned: Plan, todo: list[str]) -> dict[str, tuple[str, ...]]:
    """The outputs of earlier stages that the stages of each model read, by paths from the root."""
    stages = {stage.name: stage for stage in repository.index.stages}
    made = {out.def_path for name in planned.before for out in stages[name].outs if out.use_cache}
    return {
        key: tuple(sorted({dep.def_path for name in planned.on_workers(key) for dep in stages[name].deps} & made))
        for key in todo
    }


def dvc_settings(root: Path, repository: Any, site: Site) -> dict[str, dict[str, str]]:
    """The sections of a clone's .dvc/config.local: the head has them there, and where data is."""
    config = configparser.ConfigParser(interpolation=None)
    config.read(root / ".dvc/config.local", encoding="utf-8")  # may hold the key to a remote
    found = {name: dict(config[name]) for name in config.sections()}
    found.setdefault("core", {})["hardlink_lock"] = "true"  # it works on network file systems as well
    found.setdefault("cache", {})
    if site.remote is None:
        found["cache"]["dir"] = repository.cache.local_cache_dir
        return found
    found["cache"].pop("dir", None)
    remotes = repository.config["remote"]
    if site.remote not in remotes or repository.config["core"].get("remote") != site.remote:
        raise StudyError(f"remote is {site.remote!r}, but this is not DVC's default; type `dvc remote default NAME`")
    found["core"]["remote"] = site.remote
    url = remotes[site.remote]["url"]  # complete; in the file it may be relative, which the clone would misunderstand
    found.setdefault(f"'remote \"{site.remote}\"'", {})["url"] = url
    return found


def snapshot(root: Path) -> tuple[str, Path]:
    """A commit of the working tree as it is, changes included, and a git bundle of it. No branch and no index changes.

    The commit has no parents and a fixed date, so the same files always give the same commit.
    """
    folder = root / FOLDER
    folder.mkdir(exist_ok=True)
    index, own = folder / "index", root / workspace.git("rev-parse", "--git-path", "index", folder=root).strip()
    index.unlink(missing_ok=True)
    if own.exists():  # it knows files that git tracks although it would ignore them
        shutil.copyfile(own, index)
    workspace.git("add", "-A", folder=root, index=index)
    tree = workspace.git("write-tree", folder=root, index=index).strip()
    commit = workspace.git("commit-tree", tree, "-m", "Snapshot of the working tree", folder=root).strip()
    workspace.git("update-ref", "refs/scale/snapshot", commit, folder=root)
    bundle = folder / "snapshot.bundle"
    workspace.git("bundle", "create", "-q", str(bundle), "refs/scale/snapshot", folder=root)
    workspace.git("update-ref", "-d", "refs/scale/snapshot", folder=root)
    index.unlink(missing_ok=True)
    return commit, bundle
