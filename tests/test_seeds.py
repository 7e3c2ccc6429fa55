"""Seeds from names: they never change, distinct names give distinct seeds, each image has its own stream."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from robustness_study.core.seeds import derive_seed, streams


@pytest.mark.parametrize(
    ("seed", "names", "derived"),
    [
        (0, (), 4246866556266386882),
        (0, ("split",), 66312514701260397),
        (7, ("split", 3), 6289186365269318567),
        (1, ("a", "bc"), 7562162721859438099),
    ],
)
def test_derived_seeds_never_change(seed: int, names: tuple[str | int, ...], derived: int) -> None:
    assert derive_seed(seed, *names) == derived


def test_distinct_names_give_distinct_seeds() -> None:
    names: list[tuple[str | int, ...]] = [
        (), ("",), ("", ""), ("a", "bc"), ("ab", "c"), ("abc",), ("bc", "a"),
        (1,), ("1",), ("int:1",), (11,), (1, 1), (-1,),
    ]  # fmt: skip
    seeds = [derive_seed(seed, *name) for seed in (0, 1, 11) for name in names]
    assert len(set(seeds)) == len(seeds) == 39


def test_derived_seeds_fill_63_bits() -> None:
    seeds = [derive_seed(0, number) for number in range(2000)]
    assert len(set(seeds)) == 2000
    assert min(seeds) >= 0 and 2**62 < max(seeds) < 2**63
    assert all(900 < sum(seed >> bit & 1 for seed in seeds) < 1100 for bit in range(63))  # 1000 by chance


def first_draws(indices: Sequence[int] | np.ndarray, seed: int = 0, *names: str | int) -> list[float]:
    return [rng.random() for rng in streams(indices, seed, *names)]


@pytest.mark.parametrize(
    "indices", [[5, 2], [2, 5], [19], [0, 0, 7], [], np.array([3, 1], np.int32), np.array([255, 0], np.uint8)]
)
def test_streams_do_not_depend_on_which_others_are_requested(indices: Sequence[int] | np.ndarray) -> None:
    whole = first_draws(range(300))
    assert first_draws(indices) == [whole[index] for index in indices]


def test_streams_never_change() -> None:
    first = [rng.bit_generator.random_raw() for rng in streams([0, 5], 0, "noise")]
    assert first == [14165886389873127325, 7876934009989185077]


def test_streams_do_not_depend_on_how_much_another_has_drawn() -> None:
    together = list(streams([0, 1], 0, "noise"))
    together[0].random(1000)
    (alone,) = streams([1], 0, "noise")
    np.testing.assert_array_equal(together[1].random(50), alone.random(50))


def test_streams_differ_by_index_seed_and_name() -> None:
    draws = [*first_draws(range(1000)), *first_draws(range(1000), 1), *first_draws(range(1000), 0, "noise")]
    assert len(set(draws)) == 3000
    assert np.mean(draws) == pytest.approx(0.5, abs=0.02)
    neighbours = np.corrcoef(draws[:-1], draws[1:])[0, 1]
    assert abs(neighbours) < 0.05
