"""Checks of the catalogue: that its entries do not contradict each other, and that an attack does what its entry says.

This file imports no torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from robustness_study.attacks.entry import RULES, Entry, filled_in, stands_for
from robustness_study.core.errors import StudyError


def check_entries(entries: Sequence[Entry]) -> None:
    """Raise StudyError, in one line, if entries contradict each other. `entries` are in the order in which they run.

    Names, results and titles must occur once. A comparison must use a result of its own entry, and compare it with
    another result of the same entry or of an earlier one. So must `only_after` and `goes_on_from`.
    """
    results: list[str] = []
    for what, values in (
        ("entry", [entry.name for entry in entries]),
        ("result", [result for entry in entries for result in entry.titles]),
        ("title", [title for entry in entries for title in entry.titles.values()]),
    ):
        twice = [value for value, count in Counter(values).items() if count > 1]
        if twice:
            raise _fault(f"has the {what} {twice[0]!r} twice; rename one")
    for entry in entries:
        for result in entry.titles:
            other = next((each for each in results if stands_for(each, result) or stands_for(result, each)), None)
            if other is not None:
                raise _fault(f"has the results {other!r} and {result!r}, which can stand for the same name; rename one")
            results.append(result)
        for key in ("only_after", "goes_on_from"):
            for result, other in getattr(entry, key).items():
                if result not in entry.titles or not any(stands_for(each, other) for each in results):
                    raise _fault(
                        f"has under {entry.name} {key} = {{{result!r}: {other!r}}}; name a result of this entry, and "
                        "one of it or of an earlier entry"
                    )
        for comparison in entry.comparisons:
            if comparison.rule not in RULES:
                rules = ", ".join(RULES)
                raise _fault(f"has a comparison under {entry.name} with rule = {comparison.rule!r}; use one of {rules}")
            of_both = {"weak": comparison.weak, "strong": comparison.strong}
            for key, result in of_both.items():
                if not any(stands_for(each, result) for each in results):
                    raise _fault(
                        f"has a comparison under {entry.name} with {key} = {result!r}, which is no result of this "
                        f"entry or of an earlier one; use one of {', '.join(results)}"
                    )
            if "*" in comparison.strong:
                raise _fault(
                    f"has a comparison under {entry.name} with strong = {comparison.strong!r}; name a single result, "
                    "without *"
                )
            if not any(stands_for(each, result) for each in entry.titles for result in of_both.values()):
                raise _fault(
                    f"has the comparison {comparison.alarm!r} under {entry.name}, which writes neither of its two "
                    "results; move it to the entry that writes one of them"
                )


def check_written(
    entry: Entry, written: Mapping[str, Collection[str]], raised: Collection[str], earlier: Collection[str] = ()
) -> None:
    """Raise StudyError, in one line, if an attack did not do what its entry says. Call it after the attack has run.

    `written` maps the name of each result to the names of its settings; `raised` names the alarms its file raised,
    `earlier` the results of earlier attacks.
    """
    for result, settings in written.items():
        if not any(filled_in(pattern, pattern, result) for pattern in entry.titles):
            raise _fault(f"has no title for {result!r}, which {entry.name}.py writes; add it to `titles`")
        absent = [name for name in entry.must_be_equal if name not in settings]
        if absent:
            raise _fault(
                f"says under {entry.name} that {absent[0]} must be equal, but {entry.name}.py does not write it with "
                f"{result!r}; add it to the `settings` of this Found"
            )
    for pattern in entry.titles:
        needed = entry.only_after.get(pattern)
        if needed not in (None, *earlier):
            continue
        if not any(filled_in(pattern, pattern, result) for result in written):
            raise _fault(
                f"has a title for {pattern!r} under {entry.name}, but {entry.name}.py wrote no such result; remove the "
                "title or write the result"
            )
    for alarm in raised:
        if alarm not in entry.alarms:
            raise _fault(f"does not name the alarm {alarm!r}, which {entry.name}.py raises; add it to `alarms` there")


def _fault(what: str) -> StudyError:
    return StudyError(f"robustness_study/attacks/catalogue.py {what}")
