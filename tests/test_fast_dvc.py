"""tools/scale/fast_dvc.py writes the same dvc.lock as DVC, without DVC's slow parser."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any, cast

import pytest
from dvc import dvcfile
from dvc.utils.serialize import _yaml as dvc_yaml
from dvc.utils.serialize import modify_yaml

from tools import workspace
from tools.scale import fast_dvc, work
from tools.scale.processes import DVC

ENTRY = OrderedDict(
    cmd="python -m stages.train --loss ångström " + "--more " * 20,  # so long that it is wrapped
    deps=[OrderedDict(path="data/a b.npz", hash="md5", md5="0" * 32, size=0)],
    params={"params.yaml": {"a": None, "b": 1e-05, "c": [0.1, 2], "d": True, "e": "0", "f": "no", "g": {}, "h": [[]]}},
)


def test_bytes_are_those_of_dvc(tmp_path: Path) -> None:
    """Each writes twice, as values that were read can be written in another way than new ones."""
    written = []
    for way in (modify_yaml, fast_dvc.modify):
        path = tmp_path / "dvc.lock"
        shutil.copy(workspace.ROOT / "dvc.lock", path)
        for name in ("added", "again"):
            with way(str(path)) as content:
                content["stages"][name] = ENTRY
                del content["stages"]["check"]["cmd"]
                content["stages"]["check"]["cmd"] = "moved to the end"
        written.append(path.read_bytes())
    assert written[0] == written[1] and written[0].count(b"ngstr") == 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of DVC's own libraries
def test_only_dvc_yaml_is_read_with_the_slow_parser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow: list[str] = []
    monkeypatch.setattr(dvcfile, "modify_yaml", dvcfile.modify_yaml)  # `main` replaces it
    parse = dvc_yaml.parse_yaml_for_update

    def noted(text: str, path: str) -> Any:
        slow.append(Path(path).name)
        return parse(text, path)

    monkeypatch.setattr(dvc_yaml, "parse_yaml_for_update", noted)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"]):
        subprocess.run(command, env=workspace.environment(), check=True)
    Path("dvc.yaml").write_text("# why\nstages: {}\n", encoding="utf-8")
    for name in ("one", "two"):
        add = ["dvc", "stage", "add", "--quiet", "--run", "--name", name, "--outs", name, f"echo {name} > {name}"]
        monkeypatch.setattr(sys, "argv", add)
        with pytest.raises(SystemExit) as ended:
            fast_dvc.main()
        assert ended.value.code == 0
    assert slow == ["dvc.yaml"] * len(slow) and slow
    assert Path("dvc.yaml").read_text(encoding="utf-8").startswith("# why\n")
    status = subprocess.run(["dvc", "status"], env=workspace.environment(), check=True, capture_output=True, text=True)
    assert "Data and pipelines are up to date." in status.stdout
    assert {"one:", "two:"} <= set(Path("dvc.lock").read_text(encoding="utf-8").split())


def test_a_failure_has_the_exit_status_of_dvc(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tools.scale.fast_dvc", "repro"]
    environment = {**workspace.environment(), "PYTHONPATH": str(workspace.ROOT)}
    codes, said = [], []
    for new in (["git", "init", "-q"], ["dvc", "init", "-q"]):
        subprocess.run(new, cwd=tmp_path, env=environment, check=True)
    (tmp_path / "dvc.yaml").write_text("stages:\n  one:\n    cmd: echo one > one\n    outs: [one]\n", encoding="utf-8")
    (tmp_path / "dvc.lock").write_text("schema: '2.0'\nstages: [broken\n", encoding="utf-8")
    for started in (["dvc", "repro"], command):
        done = subprocess.run(started, cwd=tmp_path, env=environment, check=False, capture_output=True, text=True)
        codes.append(done.returncode)
        said.append(done.stderr)
    assert codes[0] == codes[1] != 0 and said[0] == said[1] and "dvc.lock" in said[0]


def test_it_is_what_starts_dvc_here_and_in_the_clones_of_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    monkeypatch.setattr(work, "command", lambda order, arguments: started.extend(arguments))
    work.dvc(cast(work.Order, None), ["repro"])
    assert fast_dvc.__name__ in started and fast_dvc.__name__ in DVC
