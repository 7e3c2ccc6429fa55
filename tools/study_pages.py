"""Writes what README and the docs say of the committed study, so that none of its numbers is typed by hand.

The text is in `docs/templates/NAME.md.jinja`. A number in it is a call that reads `reports/statistics.json`, such as
`{{ spread("test_clean", "cross_entropy", "clean") }}` (`tools/study_numbers.py` has them all). A verdict in it is
checked: `{{ claim("angular", "test_clean", "contradicted") }}` stops if the study says otherwise, because the sentences
around it would then be wrong. Each part stands between two marks in its page; the rest of the page is written by hand.
The first mark names the template and the first digits of the SHA-256 of `reports/statistics.json`. One template tells
of another study, `another("bench/results/robust_training.json")`, and `measured("gpu-CARD.json")` is what `bench.gpu`
measured; the marks of both have the same digest as the others.

`python -m tools.study_pages` writes the parts. With `--check` it writes nothing, and fails if a part is not what it
would write. `.ci/run` does so. `make test` does so if the pages name the study in `reports/`: a branch with a study of
its own need not rewrite the pages.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

import jinja2

from robustness_study.core.errors import StudyError
from robustness_study.core.files import read_json, write_text
from robustness_study.core.program import run
from robustness_study.results.differences import interval_in_points, p_in_table, points
from tools import sentences
from tools.study_numbers import Numbers

TOP = Path(__file__).resolve().parents[1]
TEMPLATES = "docs/templates"
STUDY = "reports/statistics.json"
MEASURED = "bench/results"
START = "<!-- the study's part:"
END = "<!-- end of the study's part -->"
PART = re.compile(
    rf"{START} (?P<name>\w+)(?: (?P<digest>\w+))? -->\n(?:(?!{START}).)*?{END}", re.DOTALL
)  # the text between the marks holds no other first mark, so a missing last mark is noticed


def committed(top: Path, source: str) -> Path:
    """The path of a file that is in git and that no stage makes. Raises StudyError if it is missing."""
    if not (top / source).exists():
        raise StudyError(f"{source} does not exist; it is in git: `git restore {source}`")
    return top / source


def numbers(top: Path = TOP, source: str = STUDY) -> Numbers:
    """The numbers of the committed study, or of another one whose statistics are committed."""
    path = top / source if source == STUDY else committed(top, source)
    return Numbers(read_json(path, "metrics", "tables", "differences", "conclusions", "alarms"), source)


def measured(top: Path, name: str) -> dict[str, Any]:
    """What `bench.gpu` measured, from its committed file. Raises StudyError if it is missing or of tiny settings."""
    source = f"{MEASURED}/{name}"
    found: dict[str, Any] = read_json(committed(top, source), "machine", "tiny", "parts")
    if found["tiny"]:
        raise StudyError(f"{source} is of tiny settings, which show nothing; `git restore {source}`")
    return found


def trained_on(top: Path, study: Numbers) -> dict[str, Any]:
    """What all models of the study were trained on: recipe, device, torch, precision, threads; and how many there are.

    Raises StudyError if the models differ in it, or if one had other images than the official ones: then no sentence
    about the study can name it once. Also if `reports/cells` has other models than the statistics.
    """
    found: dict[str, dict[str, Any]] = {}
    for loss, of_loss in study.statistics["metrics"].items():
        for name in of_loss:
            for path in sorted((top / "reports/cells" / loss).glob(f"{name.removesuffix('_trained')}-*/evaluate.json")):
                evaluated = read_json(path)
                found[evaluated["model"]] = {"recipe": evaluated["recipe"]} | evaluated["trained_on"]
                if not evaluated["dataset"]["official"]:
                    raise StudyError(f"{path.relative_to(top)}: these images are not the official ones of CIFAR-10")
    expected = sum(
        of_model["test_clean"]["n"] for of_loss in study.statistics["metrics"].values() for of_model in of_loss.values()
    )
    if len(found) != expected or not found:
        raise StudyError(f"reports/cells has {len(found)} models, but {study.source} tells of {expected}; `dvc repro`")
    first = next(iter(found.values()))
    for key, each in found.items():
        if each != first:
            raise StudyError(f"reports/cells: {key} was trained on {each}, other models on {first}; train it again")
    train_sets = {name for of_loss in study.statistics["metrics"].values() for name in of_loss}
    counts = {"models": len(found), "losses": len(study.statistics["metrics"]), "train_sets": len(train_sets)}
    return first | counts | {"torch": first["torch"].partition("+")[0]}


def environment(top: Path = TOP) -> jinja2.Environment:
    """What renders the templates, with the study's numbers as functions."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(top / TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        autoescape=False,  # the templates are our own, and make Markdown
    )
    study = numbers(top)
    made.globals |= {name: getattr(study, name) for name in dir(Numbers) if not name.startswith("_")}
    made.globals |= {shown.__name__: shown for shown in (points, interval_in_points, p_in_table)}
    made.globals |= {
        "another": lambda source: numbers(top, source),
        "measured": lambda name: measured(top, name),
        "trained_on": trained_on(top, study),
    }
    return made


def digest(top: Path = TOP) -> str:
    """The first digits of the SHA-256 of the study's statistics."""
    return sha256((top / STUDY).read_bytes()).hexdigest()[:12]


def with_parts(page: str, templates: jinja2.Environment, of: str) -> str:
    """The page with every part rendered anew from the study with the digest `of`.

    Raises StudyError if a part lacks one of its marks, or if its template cannot be rendered.
    """
    parts = len(PART.findall(page))
    if (page.count(START), page.count(END)) != (parts, parts):
        raise StudyError(f"a part needs two marks: `{START} NAME -->` and `{END}`; correct them")

    def part(found: re.Match[str]) -> str:
        template = f"{found['name']}.md.jinja"
        try:
            text = templates.get_template(template).render().strip()
        except jinja2.TemplateNotFound:
            raise StudyError(f"{TEMPLATES}/{template} does not exist; write it, or remove the mark") from None
        except (StudyError, jinja2.TemplateError) as error:
            raise StudyError(f"{TEMPLATES}/{template}: {error}; correct the template") from None
        return f"{START} {found['name']} {of} -->\n{text}\n\n{END}"

    return PART.sub(part, page)


def unplaced(pages: Iterable[str], top: Path = TOP) -> list[str]:
    """The templates that do not have exactly one place in the pages."""
    named = Counter(found["name"] for page in pages for found in PART.finditer(page))
    templates = (path.name.removesuffix(".md.jinja") for path in sorted((top / TEMPLATES).glob("*.md.jinja")))
    return [name for name in templates if named[name] != 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    templates = environment()
    pages = {path: path.read_text(encoding="utf-8") for path in sentences.pages()}
    lost = unplaced(pages.values())
    if lost:
        raise StudyError(f"{TEMPLATES}/{lost[0]}.md.jinja must have one place in the pages; mark it")
    for path, page in pages.items():
        try:
            made = with_parts(page, templates, digest())
        except StudyError as error:
            raise StudyError(f"{path.relative_to(TOP)}: {error}") from None
        if made == page:
            continue
        if check:
            raise StudyError(
                f"{path.relative_to(TOP)} differs from {STUDY} or {MEASURED}; run `python -m tools.study_pages`"
            )
        write_text(path, made)


if __name__ == "__main__":
    run(main)
