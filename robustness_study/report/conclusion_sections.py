"""The text of the report's section on conclusions: each family of claims with its verdicts, then single differences."""

from __future__ import annotations

import pandas as pd

from robustness_study.report.markdown import table
from robustness_study.report.study import Study
from robustness_study.results import differences
from robustness_study.results.claims import STUDIES
from robustness_study.results.conclusions import Conclusion, Family, interval_for_random_corruptions
from robustness_study.results.differences import interval_in_points, p_in_table, p_in_text, points
from robustness_study.results.families import LEVEL

TESTED = (
    "So their tests are confirmatory: the verdicts are the study's answers. What an earlier study with three seeds "
    "showed is exploratory, and it decides nothing here. "
)
CLAIMS = (
    "**Claims of the two studies.** These claims were written down, each with its direction, before this study was "
    "run. {tested}A claim is about one difference in accuracy, given in percentage points. If it is about the training "
    "set, the difference is the mean over both losses. If it is about the loss, the difference is the mean over both "
    "training sets. A positive difference has the direction of the claim."
)
IDEA = (
    "**Claims about {title}.** They are the same for every idea. Each is about one difference in accuracy: {contrast}. "
    "It is given in percentage points; a positive one has the direction of the claim."
)
SEVERAL = (
    " p and the intervals are adjusted for these claims alone. With several ideas, or several tries of one, a wrong "
    "verdict is likelier than 5 %: say how many were tried."
)
HOW_TO_READ = (
    "- *Supported*: the difference has the direction of the claim, and chance is an unlikely explanation (adjusted p "
    f"below {LEVEL}).\n"
    "- *Contradicted*: the same, in the other direction.\n"
    f"- *Not distinguishable* from chance: the adjusted p is not below {LEVEL}. The true difference may be zero, or it "
    "may be too small for this study.\n"
    "- *Smallest detectable difference*: if the true difference is this large, a study of this size finds it with a "
    "probability of about 0.7 to 0.8. It often misses a smaller one.\n"
    "- *p* is adjusted for the number of claims in the table (Holm), and so are the *intervals*: in about 95 % of "
    "studies, all of them hold their true values. An interval has zero inside exactly if the verdict is *not "
    "distinguishable*; one that ends at 0 does not have it inside.\n"
    "- *Not tested: nothing varies*: every image gives the same difference with every seed, so chance cannot be "
    "estimated. The interval and p are empty.\n"
    "- Another idea in `params.yaml` changes none of this. Only a training set can change which corruptions count as "
    "unlike training."
)
ABOUT_OTHER_TESTS = (
    "**Would another test change a verdict?** The verdicts above rest on one test, the same for every study. Two other "
    "tests were computed too; they change no verdict. *Each model on its own* adds the variances of all models. It is "
    "too sure if models of one side move together from seed to seed. *Differences of each seed* takes the variance of "
    "the difference of each seed. It is surer than the test above if both sides move together, and less sure if not."
)
NONE_DIFFERS = "With each of them, every verdict would be the same."
SOME_DIFFER = "With another test, these verdicts would differ, so they are less certain than the others:"
ONE_SEED = (
    "There is one seed. The intervals are over images alone. They do not cover how models of other seeds would differ, "
    "so nothing is tested and nothing is concluded."
)
SINGLE = (
    "**Single differences.** Each is between two models that differ in one thing. These differences were not named "
    "beforehand, so they describe the study, and no conclusion rests on them. p and the intervals are adjusted for the "
    "number of differences in the table. *std* is the standard deviation, over seeds, of the difference between two "
    "models of the same seed. McNemar's p compares two models of one seed on the same images; it is not adjusted."
)
SINGLE_OF_ONE_SEED = (
    "**Single differences.** Each is between two models that differ in one thing, in percentage points, with its own "
    "95 % interval over images."
)


def sections(study: Study) -> list[str]:
    """The paragraphs of the section."""
    if not study.differences:
        return ["There is only one model, so there is nothing to compare."]
    tested = study.seeds > 1
    parts = [] if tested else [ONE_SEED]
    for family in study.concluded:
        parts += [introduction(family, tested), table(claims_table(family)), *_random_corruptions(study, family)]
    if study.concluded and tested:
        parts += other_tests(study.concluded)
    parts += _left_out(study.left_out)
    if study.concluded and tested:
        parts += [HOW_TO_READ]
    single = differences.table(study.differences).astype(str)
    return [*parts, SINGLE if tested else SINGLE_OF_ONE_SEED, table(single)]


def introduction(family: Family, tested: bool) -> str:
    """What the claims of a family are, and when they were chosen."""
    if family.title == STUDIES:
        return CLAIMS.format(tested=TESTED if tested else "")
    contrast = family.conclusions[0].claim.contrast()  # the same for all of them
    return IDEA.format(title=family.title, contrast=contrast) + (SEVERAL if tested else "")


def claims_table(family: Family) -> pd.DataFrame:
    """The claims of a family with their verdicts, one per row, in percentage points; all entries are texts."""
    rows = {
        each.claim.text: {"verdict": each.verdict(), "points": points(each.estimate.mean), **_tested(each)}
        for each in family.conclusions
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("claim")


def _tested(conclusion: Conclusion) -> dict[str, str]:
    """The interval and, with several seeds, what the test tells."""
    adjusted = conclusion.adjusted
    interval, detectable = interval_in_points(adjusted.simultaneous_95), adjusted.smallest_detectable
    if conclusion.estimate.n == 1:
        return {"95 % interval": interval}
    return {
        "simultaneous 95 % interval": interval,
        "p (Holm)": p_in_table(adjusted.p_holm),
        "smallest detectable difference": "" if detectable is None else f"{100 * detectable:.1f}",
    }


def other_tests(families: list[Family]) -> list[str]:
    """What other tests say of the claims: how they differ, and the verdicts that would differ, or that none would."""
    differ = verdicts_by_other_tests(families)
    found = "\n".join([SOME_DIFFER, "", *(f"- {text}" for text in differ)]) if differ else NONE_DIFFERS
    return [ABOUT_OTHER_TESTS, found]


def verdicts_by_other_tests(families: list[Family]) -> list[str]:
    """Each verdict that another test would change: claim, verdict by that test, its name, and the p-value."""
    return [
        f"{other.claim.text}: *{other.verdict()}* by *{name}*"
        + ("" if other.adjusted.p_holm is None else f", {p_in_text(other.adjusted.p_holm)}")
        for family in families
        for name, other in family.that_depend_on_the_test()
    ]


def _random_corruptions(study: Study, family: Family) -> list[str]:
    """For each claim over corruptions, a sentence with its interval for corruptions that are a random sample."""
    count = len(family.conclusions)
    found = [
        (each.claim.text, interval_for_random_corruptions(each, study.cells, count)) for each in family.conclusions
    ]
    return random_corruptions_texts(found, study.seeds)


def random_corruptions_texts(found: list[tuple[str, tuple[float, float] | None]], seeds: int) -> list[str]:
    """The sentences for claims, each with its interval or None."""
    together = ", for all claims of the table together" if seeds > 1 else ""
    return [
        f"*{text}*: this row takes the corruptions as fixed, so it is about these. If they are a random sample of "
        f"possible ones, the interval is {interval_in_points(wide)}{together}."
        for text, wide in found
        if wide is not None
    ]


def _left_out(missing: dict[str, str]) -> list[str]:
    """A paragraph for each reason why claims are not tested."""
    return [
        f"Not tested, because {reason}: {'; '.join(text for text, of_claim in missing.items() if of_claim == reason)}."
        for reason in dict.fromkeys(missing.values())
    ]
