"""README and docs: length, links, and agreement of names and commands with the code."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import tomllib
from fnmatch import fnmatch
from itertools import pairwise
from typing import Any

import pytest
from ruamel.yaml import YAML

from bench.faults.__main__ import KINDS
from bench.faults.answers import RIGHT
from robustness_study.results.metrics import BESIDE, METRICS
from tools import sentences, workspace
from tools.workspace import ROOT

PAGES = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in sentences.pages()}
STAGES: dict[str, Any] = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
# Commands that no test types, with what runs them or what they run.
RUN_OTHERWISE = {
    "make test": ".ci/run",
    "python -m bench.faults": "tests/test_faults.py",  # two faults of each kind
    "python -m bench.power": "tests/test_claims.py",  # with few studies; the full command takes a quarter of an hour
    "python -m bench.gpu --minutes 8": "tests/test_bench_gpu.py",  # its parts, with tiny settings
    "python -m bench.gpu_study --minutes 9": "tests/test_gpu_study.py",  # the same
    """STUDY_DEVICE=cuda python -m bench.trials '{}' '{"weight_decay": 0.002}' --recipe gpu --train-set corrupted""": (
        "tests/test_bench.py"  # its arguments; on the CPU, a model takes hours
    ),
    """python -m bench.trials '{}' '{"stem": "cifar"}' --also-on corrupted""": (
        "tests/test_bench.py"  # its arguments; two models take over an hour
    ),
    "make bench": "tests/test_bench.py",  # with few images and steps; the full command takes half an hour
    "pip install .": "tests/test_package.py",  # in an environment of its own, without a network
    "pip install '.[pictures]'": "tests/test_package.py",
}


def tracked() -> set[str]:
    return set(workspace.files())


# --- length ------------------------------------------------------------------------------------------------------


def test_readme_is_short() -> None:
    assert len(PAGES["README.md"].splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES)
def test_sentences_are_short(page: str) -> None:
    prose = sentences.read(PAGES[page])
    assert prose.sentences and prose.mean_words <= sentences.MEAN_WORDS
    assert len(sentences.words(prose.longest)) <= 2 * sentences.MEAN_WORDS, prose.longest


def test_only_prose_is_counted() -> None:
    markdown = (
        "# A heading is not read\n\nOne two `three is one word`. Four five\nsix [seven eight](nine.md)! "
        "*Ten.* Eleven\n\n"
        "```sh\nnot this\n```\n\n| nor | this |\n|---|---|\n| table | row |\n\n- An item\n- and another, e.g. this.\n\n"
        "![nor a picture](x.png)\n"
    )
    found = sentences.read(markdown).sentences
    assert [len(sentences.words(each)) for each in found] == [3, 5, 1, 1, 2, 4]
    assert sentences.read("").mean_words == 0


# --- links -------------------------------------------------------------------------------------------------------


def anchors(text: str) -> set[str]:
    """The anchors that GitHub or GitLab makes from a page's headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_in_git(page: str) -> None:
    known = tracked()
    for link in re.findall(r"\]\(([^)]+)\)", PAGES[page]):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = str((ROOT / page).parent.joinpath(name).resolve().relative_to(ROOT)) if name else page
        assert target in known, link
        assert not anchor or anchor in anchors((ROOT / target).read_text(encoding="utf-8")), link


def test_every_page_can_be_reached_from_readme() -> None:
    reached, waiting = set[str](), ["README.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached:
            reached.add(page)
            links = re.findall(r"\]\(([^)#]+\.md)(?:#[^)]*)?\)", PAGES.get(page, ""))
            waiting += [str((ROOT / page).parent.joinpath(link).resolve().relative_to(ROOT)) for link in links]
    assert set(PAGES) <= reached


# --- names -------------------------------------------------------------------------------------------------------


def test_every_stage_is_in_readmes_table() -> None:
    table = PAGES["README.md"].partition("| stage |")[2].partition("\n\n")[0]
    named = [name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == sorted(STAGES)


def paths(stage: str, kind: str) -> list[str]:
    """What a stage reads or writes, as patterns."""
    entries = [each for part in kind.split() for each in STAGES[stage].get(part, [])]
    return [re.sub(r"\$\{[^}]*\}", "*", next(iter(each)) if isinstance(each, dict) else each) for each in entries]


def feeds(maker: str, reader: str) -> bool:
    """Whether a stage reads what another writes, as a file or within a folder."""

    def match(one: str, other: str) -> bool:
        return fnmatch(one.replace("*", "x"), other) or fnmatch(other.replace("*", "x"), one)

    return any(
        match(out, dep) or match(out, f"{dep}/*") or match(dep, f"{out}/*")
        for out in paths(maker, "outs metrics plots")
        for dep in paths(reader, "deps")
    )


def test_arrows_in_readmes_diagram_are_those_of_the_pipeline() -> None:
    (diagram,) = re.findall(r"```mermaid\nflowchart LR\n(.*?)```", PAGES["README.md"], re.DOTALL)
    drawn = set[tuple[str, str]]()
    for line in diagram.strip().splitlines():
        chain = [[name.strip() for name in part.split("&")] for part in line.split("-->")]
        for makers, readers in pairwise(chain):
            drawn |= {(maker, reader) for maker in makers for reader in readers}
    assert {name for arrow in drawn for name in arrow} == set(STAGES) - {"publish_shared"}
    through = {"publish_shared": ("compare",)}  # left out of the diagram: it only copies
    for maker, reader in drawn:
        direct = feeds(maker, reader)
        copied = any(feeds(maker, copier) and reader in readers for copier, readers in through.items())
        assert direct or copied, f"{maker} --> {reader}"


def test_every_metric_is_explained() -> None:
    explained = re.findall(r"`(\w+)(…?)`", PAGES["docs/metrics.md"])
    whole, starts = ({name for name, end in explained if bool(end) == cut} for cut in (False, True))
    for metric in (*METRICS, *BESIDE):
        assert metric.name in whole or metric.name.startswith(tuple(starts)), metric.name


def test_citation_licence_and_package_agree() -> None:
    citation = YAML(typ="safe").load(ROOT / "CITATION.cff")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"] == "MIT"
    authors = [author["name"] for author in citation["authors"]]
    assert authors == [author["name"] for author in project["authors"]]
    assert f"Copyright (c) 2026 {authors[0]}" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert {"cff-version", "message", "title"} <= set(citation)


def test_workflow_and_container_run_the_documented_commands() -> None:
    workflow = YAML(typ="safe").load(ROOT / ".github/workflows/ci.yml")
    assert [step["run"] for step in workflow["jobs"]["test"]["steps"] if "run" in step] == [".ci/run"]
    commented = (ROOT / ".devcontainer/devcontainer.json").read_text(encoding="utf-8")
    container = json.loads(re.sub(r"(?m)(^|\s)//.*$", "", commented))
    assert container["postCreateCommand"] == "make demo"


def test_table_of_injected_faults_is_that_of_the_last_run() -> None:
    answers = json.loads((ROOT / "bench/results/faults.json").read_text(encoding="utf-8"))["answers"]
    tried = {kind: sum(counts.values()) for kind, counts in answers.items()}
    right = {kind: sum(counts.get(answer, 0) for answer in RIGHT) for kind, counts in answers.items()}
    rows = [f"| {kind} | {tried[kind]} | {right[kind]} |" for kind in answers]
    rows.append(f"| all | {sum(tried.values())} | {sum(right.values())} |")
    assert "\n".join(rows) in PAGES["docs/honesty.md"] and len(answers) == len(KINDS)


def test_table_of_published_attacks_is_that_of_the_last_run() -> None:
    found = json.loads((ROOT / "bench/results/autoattack.json").read_text(encoding="utf-8"))["rows"]
    page = PAGES["docs/honesty.md"]
    heads = " | ".join(f"ε = {row['epsilon_255']}/255" for row in found)
    table = page.split(f"| attack | {heads} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    shares = [" | ".join(f"{row['accuracy'][name]:.3f}" for row in found) for name in found[0]["accuracy"]]
    assert [row.split(" | ", 1)[1] for row in table] == [f"{share} |" for share in shares]
    assert {row["agree"]["apgd"] for row in found} == {1.0} and "published one agree on all images, at both ε" in page
    of_one = [f"{100 * row['agree']['apgd_ce']:.1f} % at {row['epsilon_255']}/255" for row in found]
    assert f"With cross-entropy alone they agree on {' and '.join(of_one)}." in " ".join(page.split())


# --- commands ----------------------------------------------------------------------------------------------------


def commands(page: str) -> list[str]:
    """The commands of a page's blocks marked `sh`, without comments."""
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGES[page], re.DOTALL | re.MULTILINE)
    lines = [re.sub(r"(^|\s+)#.*", "", line) for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def typed() -> set[str]:
    """Every line that a test types: the first argument of each call of a function or method `typed`."""
    found = set[str]()
    for path in (ROOT / "tests").glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if name == "typed":
                    found.add(str(node.args[0].value))
    return found


# tests/test_extend.py types those of docs/extend; CONTRIBUTING's are of this very test run.
READ = [page for page in PAGES if not page.startswith(("docs/extend/", "CONTRIBUTING"))]


@pytest.mark.parametrize("page", READ)
def test_every_command_is_run_by_a_test(page: str) -> None:
    missing = set(commands(page)) - typed() - set(RUN_OTHERWISE)
    assert not missing


def test_other_commands_are_run_somewhere() -> None:
    shown = {command for page in READ for command in commands(page)}
    for command, where in RUN_OTHERWISE.items():
        assert command in shown and (ROOT / where).exists()
    assert "make test\n" in (ROOT / ".ci/run").read_text(encoding="utf-8")
    bench = subprocess.run(["make", "-n", "bench"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    programs = set(re.findall(r"python -m bench\.(\w+)", bench))
    tests = (ROOT / "tests/test_bench.py").read_text(encoding="utf-8")
    assert programs and all(re.search(rf"\b{program}\.", tests) for program in programs)


@pytest.mark.parametrize("page", [page for page in PAGES if page != "CONTRIBUTING.md"])
def test_commands_within_sentences_are_shown_in_full_somewhere(page: str) -> None:
    """A command in a sentence is a command in a block of some page, or the beginning of one."""
    shown = {command for each in PAGES for command in commands(each)}
    text = re.sub(r"^```.*?^```", "", PAGES[page], flags=re.DOTALL | re.MULTILINE)
    for command in re.findall(r"`((?:make|dvc|git|pip|python -m|corrupt-images) [^`]*)`", text):
        assert any(each.startswith(command) for each in shown), command
