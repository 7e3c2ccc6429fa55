"""`pip install .` on another machine: the corruptions work with numpy, scipy, pillow and torch alone.

Nothing is downloaded. The wheel is built with the setuptools that is installed here. The fresh environment has links
to the packages of this environment that those four need, and to nothing else.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from natural_images import natural_images
from packaging.requirements import Requirement
from PIL import Image

from robustness_study.corruptions import corrupt, families

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[1]
BASE = ["numpy", "pillow", "scipy", "torch"]
ABSENT = ["dvc", "matplotlib", "pandas", "pydantic", "ruamel", "sklearn", "torchvision"]
IMAGES = natural_images(6)


def needed(names: Iterable[str]) -> list[metadata.Distribution]:
    """The installed distributions of these names and of their requirements on this machine."""
    waiting, seen, found = [(name, "") for name in names], set(), {}
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) not in seen:
            seen.add((name, extra))
            found[name] = metadata.distribution(name)
            for requirement in map(Requirement, found[name].requires or []):
                if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                    waiting += [(requirement.name, each) for each in ("", *requirement.extras)]
    return list(found.values())


def run(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs a command without this process's environment variables."""
    clean = {"PATH": os.environ["PATH"], "HOME": str(cwd)}
    return subprocess.run([str(c) for c in command], cwd=cwd, env=clean, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy, so that nothing is left in the repository."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    for name in ("robustness_study", "stages", "tests"):
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    uv = (sys.executable, "-m", "uv", "build", "--wheel", "--no-build-isolation", "--offline")
    done = run(*uv, "--python", sys.executable, "--out-dir", source / "built", cwd=source)
    assert done.returncode == 0, done.stderr
    (built,) = (source / "built").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment after `pip install .`."""
    return installed(wheel, BASE, tmp_path_factory.mktemp("environment"))


@pytest.fixture(scope="module")
def environment_with_pictures(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment after `pip install '.[pictures]'`."""
    return installed(wheel, [*BASE, "matplotlib"], tmp_path_factory.mktemp("environment"))


def installed(wheel: Path, requirements: list[str], folder: Path) -> Path:
    """Makes an environment with the wheel and these requirements; returns its folder `bin`."""
    venv.create(folder, symlinks=True, with_pip=False)
    (packages,) = (folder / "lib").glob("python*/site-packages")
    for distribution in needed(requirements):
        tops = {file.parts[0] for file in distribution.files or []} - {"..", "__pycache__"}
        for top in tops:
            if not (packages / top).exists():
                (packages / top).symlink_to(distribution.locate_file(top))  # type: ignore[arg-type]  # a path here
    uv = (sys.executable, "-m", "uv", "pip", "install", "--offline", "--no-deps")
    done = run(*uv, "--python", folder / "bin/python", wheel, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "bin"


def typed(line: str, environment: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs a line of docs/corruptions.md in bash, with the environment first on PATH."""
    return run("env", f"PATH={environment}:{os.environ['PATH']}", "bash", "-c", line, cwd=cwd)


def test_wheel_holds_only_the_library(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names} == {"robustness_study", "robustness_study-0.1.0.dist-info"}
    inside = {name for name in names if name.endswith(".py")}
    assert inside == {str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "robustness_study").rglob("*.py")}


def test_base_requirements_are_four(environment: Path, tmp_path: Path) -> None:
    code = "import json; from importlib.metadata import requires; print(json.dumps(requires('robustness-study')))"
    done = run(environment / "python", "-c", code, cwd=tmp_path)
    requirements = [Requirement(line) for line in json.loads(done.stdout)]
    assert sorted(requirement.name for requirement in requirements if requirement.marker is None) == BASE
    extras = {str(requirement.marker) for requirement in requirements if requirement.marker is not None}
    assert extras == {'extra == "pictures"', 'extra == "pipeline"'}


def test_environment_has_nothing_else(environment: Path, tmp_path: Path) -> None:
    code = f"from importlib.util import find_spec; print([name for name in {ABSENT} if find_spec(name)])"
    done = run(environment / "python", "-c", code, cwd=tmp_path)
    assert done.stdout == "[]\n", done.stderr
    done = run(environment / "python", "-c", "import robustness_study; print(robustness_study.__file__)", cwd=tmp_path)
    assert Path(done.stdout.strip()).is_relative_to(environment.parent)


def test_every_corruption_gives_the_same_bytes_there(environment: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", IMAGES)
    code = (
        "import numpy as np\n"
        "from robustness_study.corruptions import corrupt, names\n"
        "images = np.load('images.npy')\n"
        "np.savez('made.npz', **{n: corrupt(images, n, [1, 2, 3, 4, 5, 0], seed=2, split='a') for n in names()})\n"
    )
    done = run(environment / "python", "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    names = [name for members in families().values() for name in members]
    with np.load(tmp_path / "made.npz") as made:
        assert list(made) == names
        for name in names:
            ours = corrupt(IMAGES, name, [1, 2, 3, 4, 5, 0], seed=2, split="a")
            np.testing.assert_array_equal(made[name], ours, err_msg=name, strict=True)


def test_entry_point_lists_corrupts_and_names_mistakes(environment: Path, tmp_path: Path) -> None:
    command = environment / "corrupt-images"
    done = typed("corrupt-images --list", environment, tmp_path)
    assert done.stdout.splitlines() == [f"{family}: {', '.join(members)}" for family, members in families().items()]
    np.savez(tmp_path / "in.npz", images=IMAGES)
    done = run(command, "in.npz", "out.npz", "--corruption", "frost", "--severity", "2", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with np.load(tmp_path / "out.npz") as out:
        np.testing.assert_array_equal(out["images"], corrupt(IMAGES, "frost", 2, seed=0, split="test"), strict=True)
    for arguments, message in (
        (("in.npz", "x.npz", "--corruption", "smoke"), "error: argument --corruption: invalid choice: 'smoke'"),
        (("in.npz", "x.png", "--sheet"), "error: --sheet needs matplotlib; install it with: pip install 'robustness"),
    ):
        done = run(command, *arguments, cwd=tmp_path)
        assert done.returncode != 0 and done.stdout == ""
        assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith(message)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.npz", "out.npz"]


def test_commands_of_the_page_work(environment_with_pictures: Path, tmp_path: Path) -> None:
    labels = np.arange(len(IMAGES))
    np.savez(tmp_path / "IN.npz", images=IMAGES, labels=labels)
    line = typed(
        "corrupt-images IN.npz OUT.npz --corruption fog --severity 3 --seed 0", environment_with_pictures, tmp_path
    )
    assert line.returncode == 0, line.stderr
    with np.load(tmp_path / "OUT.npz") as out:
        np.testing.assert_array_equal(out["images"], corrupt(IMAGES, "fog", 3, seed=0, split="test"), strict=True)
        np.testing.assert_array_equal(out["labels"], labels)
    line = typed("corrupt-images IN.npz SHEET.png --sheet", environment_with_pictures, tmp_path)
    assert line.returncode == 0, line.stderr
    with Image.open(tmp_path / "SHEET.png") as sheet:
        assert sheet.width > 500 and sheet.height > 500
