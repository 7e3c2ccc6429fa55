"""The numbers of a study as text, for the templates in `docs/templates/`.

Shares have three decimals, differences are in percentage points with one decimal and a sign. A number that the study
lacks, and a verdict or a direction that is not the one that a template names, stop with a StudyError: the sentence
around it would be wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from robustness_study.core.errors import StudyError
from robustness_study.results.claims import STUDIES
from robustness_study.results.differences import interval_in_points, p_in_text, points

VERDICTS = {"supported", "contradicted", "not distinguishable"}


@dataclass(frozen=True)
class Numbers:
    """What `statistics.json` of a study holds; `source` names the file in messages."""

    statistics: dict[str, Any]
    source: str

    def estimate(self, metric: str, loss: str, train_set: str) -> dict[str, Any]:
        """A metric of a loss and training set: mean, standard deviation over seeds, 95 % interval, n, images."""
        metrics = self.statistics["metrics"].get(loss, {}).get(f"{train_set}_trained", {})
        return self.known(metrics.get(metric), f"{metric} of {loss} trained on {train_set}")

    def entry(self, table: str, model: str, row: str) -> dict[str, Any]:
        """An entry of one of the report's tables, with the same keys as `estimate`."""
        rows = self.statistics["tables"].get(table, {}).get(model, {})
        return self.known(rows.get(row), f"row {row!r} of {model!r} in the table {table}")

    def known(self, found: dict[str, Any] | None, what: str) -> dict[str, Any]:
        """The estimate `found`. Raises StudyError if there is none, or one without a mean."""
        if found is None or found["mean"] is None:
            raise StudyError(f"{self.source} has no {what}")
        return found

    def mean(self, metric: str, loss: str, train_set: str) -> str:
        """The mean over seeds, such as `0.790`."""
        return f"{self.estimate(metric, loss, train_set)['mean']:.3f}"

    def spread(self, metric: str, loss: str, train_set: str) -> str:
        """Mean ± standard deviation over seeds, such as `0.790 ± 0.004`."""
        return with_spread(self.estimate(metric, loss, train_set))

    def full(self, metric: str, loss: str, train_set: str) -> str:
        """Mean ± standard deviation over seeds, and the 95 % interval: `0.790 ± 0.004 (0.779–0.802)`."""
        return with_interval(self.estimate(metric, loss, train_set))

    def images(self, metric: str, loss: str, train_set: str) -> str:
        """The number of images behind a metric, such as `10,000`."""
        return f"{self.estimate(metric, loss, train_set)['images']:,}"

    def in_points(self, metric: str, loss: str, train_set: str) -> str:
        """A mean that is itself a difference of accuracies, in points without a sign, such as `27.4`."""
        return f"{100 * self.estimate(metric, loss, train_set)['mean']:.1f}"

    def row(self, table: str, model: str, row: str) -> str:
        """An entry of one of the report's tables: `0.790 ± 0.004`."""
        return with_spread(self.entry(table, model, row))

    def full_row(self, table: str, model: str, row: str) -> str:
        """The same with its 95 % interval: `0.790 ± 0.004 (0.779–0.802)`."""
        return with_interval(self.entry(table, model, row))

    def less(self, low: dict[str, Any], high: dict[str, Any]) -> str:
        """`0.781 against 0.790`, for a sentence that says which of two estimates or entries is less.

        Raises StudyError unless the whole interval of `low` is below that of `high`.
        """
        if low["interval_95"][1] >= high["interval_95"][0]:
            raise StudyError(f"{self.source}: {with_interval(low)} is not clearly less than {with_interval(high)}")
        return f"{low['mean']:.3f} against {high['mean']:.3f}"

    def alike(self, one: dict[str, Any], other: dict[str, Any]) -> str:
        """`0.781 and 0.782`, for a sentence that says that two estimates or entries look alike.

        Raises StudyError unless each mean is in the interval of the other.
        """
        for first, second in ((one, other), (other, one)):
            low, high = second["interval_95"]
            if not low <= first["mean"] <= high:
                raise StudyError(f"{self.source}: {with_interval(one)} is not like {with_interval(other)}")
        return f"{one['mean']:.3f} and {other['mean']:.3f}"

    def difference(self, metric: str, model: str, minus: str) -> dict[str, Any]:
        """A single difference between two models."""
        for found in self.statistics["differences"]:
            if (found["metric"], found["model"], found["minus"]) == (metric, model, minus):
                return dict(found)
        raise StudyError(f"{self.source} has no difference in {metric} of {model} minus {minus}")

    def single(self, metric: str, model: str, minus: str, sign: int) -> str:
        """The points of a single difference with the interval that is adjusted for all of them.

        `sign` is 1 or −1 if the sentence says that the difference is clear, and its direction; 0 if it says that it is
        not. Raises StudyError if that is wrong.
        """
        found = self.difference(metric, model, minus)
        low, high = found["simultaneous_95"]
        clear = 0 if low < 0 < high else 1 if found["mean"] > 0 else -1
        if clear != sign:
            raise StudyError(f"{self.source}: {metric} of {model} minus {minus} has the sign {clear}, not {sign}")
        return f"{points(found['mean'])} ({interval_in_points(found['simultaneous_95'])})"

    def cost(self, metric: str, model: str, minus: str) -> str:
        """How many points fewer `model` has, such as `6.7`. Raises StudyError if it has not fewer."""
        found = self.difference(metric, model, minus)
        if found["mean"] >= 0:
            raise StudyError(f"{self.source}: {model} has not less {metric} than {minus}")
        return f"{-100 * found['mean']:.1f}"

    def conclusions(self, family: str = STUDIES) -> list[dict[str, Any]]:
        """The conclusions about the claims of the two studies, or of another family, in the report's order.

        Raises StudyError if there are none, or if they were not tested, for example because there is one seed.
        """
        made = [found for found in self.statistics["conclusions"] if found["family"] == family]
        if not made or any(found["verdict"] not in VERDICTS for found in made):
            raise StudyError(f"{self.source} has no verdicts about the claims of {family}")
        return made

    def conclusion(self, about: str, metric: str, family: str = STUDIES) -> dict[str, Any]:
        """The conclusion about a loss or a training set by one metric."""
        for found in self.conclusions(family):
            named = found["contrast"].startswith((f"{about} −", f"trained on {about} −"))
            if found["metric"] == metric and named:
                return dict(found)
        raise StudyError(f"{self.source} has no conclusion about {about} and {metric}")

    def answer(self, about: str, metric: str) -> str:
        """A conclusion: its verdict, and the points with the simultaneous interval that the verdict rests on."""
        found = self.conclusion(about, metric)
        return f"**{found['verdict']}**, {points(found['mean'])} ({interval_in_points(found['simultaneous_95'])})"

    def claim(self, about: str, metric: str, verdict: str, family: str = STUDIES) -> str:
        """The points of a conclusion with their interval. Raises StudyError if its verdict is not `verdict`."""
        found = self.conclusion(about, metric, family)
        known_verdict(verdict)
        if found["verdict"] != verdict:
            raise StudyError(f"the claim {found['claim']!r} is {found['verdict']}, not {verdict}")
        return f"{points(found['mean'])} ({interval_in_points(found['simultaneous_95'])})"

    def by_test(self, test: str, about: str, metric: str, verdict: str) -> str:
        """The adjusted p-value of a conclusion by another test than the report's, such as `p = 0.02` or `p < 0.0001`.

        Raises StudyError if its verdict by that test is not `verdict`.
        """
        found = self.conclusion(about, metric)
        known_verdict(verdict)
        others = found.get("other_tests", {})
        if test not in others:
            raise StudyError(f"{test!r} is none of the other tests; choose one of {sorted(others)}")
        if others[test]["verdict"] != verdict:
            raise StudyError(f"by {test}, the claim {found['claim']!r} is {others[test]['verdict']}, not {verdict}")
        return p_in_text(others[test]["p_holm"])

    def only_these_depend_on_the_test(self, *named: tuple[str, str, str]) -> str:
        """Nothing, if a text names every verdict that another test would change: about, metric, test.

        Raises StudyError if it does not name one of them.
        """
        told = [(self.conclusion(about, metric)["claim"], test) for about, metric, test in named]
        for found in self.conclusions():
            for test, other in found.get("other_tests", {}).items():
                if other["verdict"] != found["verdict"] and (found["claim"], test) not in told:
                    raise StudyError(
                        f"by {test}, the claim {found['claim']!r} is {other['verdict']}; the text omits it"
                    )
        return ""

    def alarmed(self, kind: str) -> str:
        """The models for which the alarm `kind` was raised: "`cross_entropy-clean` (seeds 0, 1)"; "" if none.

        Raises StudyError if there are alarms of another kind: then a text about this kind alone would hide them.
        """
        seeds: dict[str, list[str]] = {}
        for key, alarms in self.statistics["alarms"].items():
            others = sorted(set(alarms) - {kind})
            if others:
                raise StudyError(f"{self.source} has the alarm {others[0]} for {key}, which the text does not explain")
            model, _, seed = key.rpartition("-")
            if kind in alarms:
                seeds.setdefault(model, []).append(seed)
        return ", ".join(
            f"`{model}` (seed{'s' * (len(found) > 1)} {', '.join(found)})" for model, found in sorted(seeds.items())
        )


def known_verdict(verdict: str) -> None:
    """Raises StudyError if a template names a verdict that does not exist."""
    if verdict not in VERDICTS:
        raise StudyError(f"{verdict!r} is no verdict; choose one of {sorted(VERDICTS)}")


def with_spread(found: dict[str, Any]) -> str:
    """Mean ± standard deviation over seeds; without the latter if there is one seed."""
    spread = "" if found["std"] is None else f" ± {found['std']:.3f}"
    return f"{found['mean']:.3f}{spread}"


def with_interval(found: dict[str, Any]) -> str:
    """Mean ± standard deviation, and the 95 % interval in brackets."""
    low, high = found["interval_95"]
    return f"{with_spread(found)} ({low:.3f}–{high:.3f})"
