"""The text of the report's section on corruptions."""

from __future__ import annotations

from robustness_study.corruptions import CIFAR_10_C_FAMILIES, SEVERITIES
from robustness_study.report import suite_tables, tables
from robustness_study.report.markdown import escaped, listed, table
from robustness_study.report.study import Study
from robustness_study.results import corruption_errors, training_set_effects
from robustness_study.results.cell_results import Cells
from robustness_study.results.corruption_errors import Errors
from robustness_study.results.differences import points
from robustness_study.results.intervals import covers, varies
from robustness_study.results.training_set_effects import Effects, TrainingSetEffect
from robustness_study.statistics import Estimate, half_width


def section(study: Study) -> list[str]:
    """The paragraphs and the table of the section, without pictures."""
    stress = study.first.stress
    note = (
        f"Accuracy on {stress.images} test images, stratified by class, the same for every model and corruption. The "
        f"95 % interval of one model over images alone is at most ± {half_width(stress.images):.3f}. The corruptions "
        "are those of CIFAR-10-C, each at five severities (Hendrycks & Dietterich 2019, arXiv 1903.12261), generated "
        "again on these images. Each row is a mean over severities and over a group of corruptions:"
    )
    errors = [corruption_errors_text(study), *near_zero_warning(study.corruption_errors)]
    means = table(tables.shown(suite_tables.labelled(study.tables["suite"])))
    return [note, rows_text(study), *jpeg_text(study), *errors, means, *effects_text(study.cells)]


def rows_text(study: Study) -> str:
    """What each row of the table is."""
    groups = study.first.stress.groups()
    rows = [
        "- `clean`: the same images without a corruption;",
        f"- `main`: CIFAR-10-C's main corruptions ({len(groups['main'])} of 15);",
        f"- `held out`: its other corruptions ({len(groups['held out'])} of 4);",
        "- `noise`, `blur`, `weather`, `digital`: its four families, main and held-out corruptions together;",
        f"- `{suite_tables.LABELS['seen']}` (`seen` in the files): those of `main` that are similar to what training "
        "does to images (the studies' corruption, that is, the mix; the recipe's augmentation; a training set) or to "
        f"what was done to the dataset's images before: {', '.join(groups['seen']) or 'none'};",
        f"- `{suite_tables.LABELS['unseen']}` (`unseen` in the files): the rest of `main`;",
        "- any other row: one corruption that is not in CIFAR-10-C, by its name.",
    ]
    return "\n".join(rows)


def jpeg_text(study: Study) -> list[str]:
    """Why `jpeg_compression` counts as similar to training, or why not; nothing if it is not in the suite."""
    if "jpeg_compression" not in study.first.stress.by_corruption:
        return []
    share = study.first.evaluate["dataset"]["jpeg_share"]
    if share is None:
        text = "similar to training, because it is not known whether the images of this dataset were JPEG files before"
    elif share:
        text = f"similar to training, because {100 * share:.3g} % of the training images were JPEG files"
    elif "jpeg_compression" in study.first.stress.seen:
        text = "similar to training because of what training does to images; the training images were not JPEG files"
    else:
        text = "unlike training: the training images were not JPEG files"
    return [f"`jpeg_compression` counts as {text}."]


def corruption_errors_text(study: Study) -> str:
    """What mCE is, or why there is none."""
    if corruption_errors.REFERENCE not in study.cells:
        return f"mCE is not given: {corruption_errors.NO_REFERENCE}."
    return (
        "mCE is the mean corruption error. For each corruption, a model's error rates are summed over severities "
        "and divided by the same sum of a reference model. mCE is the mean over corruptions. The reference is the "
        "cross-entropy model of the same seed trained on clean images, so that model has mCE 1. Lower is better. "
        "For the relative mCE, each model's error rate on clean images is subtracted first. The 95 % intervals are "
        f"over {covers(study.seeds)}; model and reference are compared on the same images. Where a value is missing, "
        "`corruption_errors.json` gives the reason."
    )


def near_zero_warning(errors: Errors) -> list[str]:
    """A warning that names the corruptions whose divisor is near zero; nothing if there are none."""
    found: dict[str, dict[str, list[int]]] = {title: {} for title in corruption_errors.TITLES}
    for of_model in errors.values():
        for title, of_groups in of_model.items():
            for error in of_groups.values():
                found[title] |= error["near_zero"]
    lines = []
    for title, near_zero in found.items():
        if near_zero:
            names = [f"`{name}` ({seeds_text(seeds)})" for name, seeds in near_zero.items()]
            lines.append(
                f"> **Warning: the {title} divides by numbers near zero.** This is so for {listed(names)}. There the "
                "reference model makes so few errors (or, for the relative mCE, so few more than on clean images) that "
                "the 95 % interval of their number over images reaches down to half of it or lower. The ratio can be "
                f"far off by chance. So any {title} that includes these corruptions is rough, and more uncertain than "
                "its interval says. More images (`suite.images`) help."
            )
    return lines


def seeds_text(seeds: list[int]) -> str:
    """Seeds in words: "seed 0", "seeds 0, 1"."""
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def effects_text(cells: Cells) -> list[str]:
    """Where each training set other than `clean` helps and where it hurts; nothing without such a training set."""
    seeds = len(next(iter(cells.values())))
    lines = []
    for train_set, losses in training_set_effects.compared(cells).items():
        effect = TrainingSetEffect(cells, train_set, losses)
        effects = effect.effects()
        lines += [f"- Trained on **{escaped(train_set)}**: {words(effects)}. (Mean over {escaped(listed(losses))}.)"]
        lines += [f"  - By severity: {figures(by_severity(effects))}."]
        lines += [f"  - By family: {figures(by_family(effects))}.{turning(effects)}"]
        lines += overall(effect, effects)
    if not lines:
        return []
    over = covers(seeds)
    one_seed = " With one seed they say nothing about other seeds." if seeds == 1 else ""
    return [
        "**Where it helps and where it hurts.** A mean over all corruptions can hide gains and losses. Each figure "
        "below is an accuracy minus that of models trained on clean images, in percentage points, on the same images. "
        f"Brackets hold its 95 % interval over {over}, not adjusted for the other figures.{one_seed} A training set "
        "helps or hurts where this interval does not contain 0. With so many intervals, one may miss 0 by chance "
        "alone; the verdicts are those of the section Conclusions. Figures by severity are over `main`; figures by "
        "family are over all severities. `tables/corruption_effects.csv` has each family at each severity.",
        "\n".join(lines),
        f"The intervals for fixed corruptions, like all others in this report, are about other {over} under the same "
        "corruptions. The intervals for random corruptions take those of the suite as a random sample of possible "
        "ones, so they are wider. Where only the first one excludes 0, an effect is one of these corruptions, and it "
        "need not hold for others.",
    ]


def by_severity(effects: Effects) -> dict[str, Estimate]:
    """The differences over `main` by severity."""
    return {f"{severity}": effects["main", severity] for severity in SEVERITIES if ("main", severity) in effects}


def by_family(effects: Effects) -> dict[str, Estimate]:
    """The differences over all severities by family."""
    return {family: effects[family, None] for family in CIFAR_10_C_FAMILIES if (family, None) in effects}


def words(effects: Effects) -> str:
    """Where it helps, hurts, or does neither: "hurts at severity 1 and under noise; no clear difference …"."""
    kinds: dict[str, list[str]] = {"helps": [], "hurts": [], "no clear difference": []}
    for where, found in (("at severity ", by_severity(effects)), ("under ", by_family(effects))):
        names: dict[str, list[str]] = {}
        for name, effect in found.items():
            names.setdefault(kind_of(effect), []).append(name)
        for kind, of_kind in names.items():
            kinds[kind].append(where + listed(of_kind))
    return "; ".join(f"{kind} {' and '.join(places)}" for kind, places in kinds.items() if places)


def kind_of(effect: Estimate) -> str:
    """Whether a training set helps or hurts: where the interval of the difference does not contain 0."""
    low, high = effect.interval_95
    if not varies(effect):
        return "no clear difference"  # nothing varies, so there is no interval
    return "helps" if low > 0 else "hurts" if high < 0 else "no clear difference"


def turning(effects: Effects) -> str:
    """A sentence with the families that are helped at severity 1 and hurt at 5, or the reverse; empty if none are."""
    turns = []
    for family in by_family(effects):
        mild, severe = effects[family, SEVERITIES[0]], effects[family, SEVERITIES[-1]]
        if {kind_of(mild), kind_of(severe)} == {"helps", "hurts"}:
            turns.append(f"{family} ({points(mild.mean)} to {points(severe.mean)})")
    return (
        f" From severity {SEVERITIES[0]} to {SEVERITIES[-1]} the sign changes under {listed(turns)}." if turns else ""
    )


def figures(effects: dict[str, Estimate]) -> str:
    """Each difference with its interval, in percentage points."""
    return ", ".join(f"{name}: {with_interval(effect)}" for name, effect in effects.items())


def with_interval(effect: Estimate) -> str:
    """A difference and its 95 % interval in percentage points; without an interval if nothing varies."""
    return points(effect.mean) + (f" ({interval(effect)})" if varies(effect) else "")


def interval(effect: Estimate) -> str:
    """A 95 % interval in percentage points."""
    return " to ".join(map(points, effect.interval_95))


def overall(effect: TrainingSetEffect, effects: Effects) -> list[str]:
    """Lines with the difference over all corruptions of a group, with corruptions as fixed and as random."""
    lines = []
    for group, label in (("main", "of `main`"), ("unseen", suite_tables.LABELS["unseen"])):
        if (group, None) not in effects:
            continue
        fixed = effects[group, None]
        random = effect.with_corruptions_as_random(group, fixed)
        if random is not None:
            both = f"interval for fixed corruptions {interval(fixed)}, for random ones {interval(random)}"
            lines.append(f"  - Over the {len(effect.groups[group])} {label}: {points(random.mean)}; {both}.")
    return lines
