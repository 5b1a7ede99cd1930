from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maporl_cli.core.errors import DataError
from maporl_cli.data.partition import Side, Sizes, assign, assign_labelled


def counts(sides: list[Side]) -> tuple[int, int, int]:
    found = Counter(sides)
    return found[Side.TRAIN], found[Side.EVAL], found[Side.UNUSED]


@given(
    clusters=st.lists(st.integers(0, 12), min_size=2, max_size=60),
    fraction=st.floats(0.05, 0.95),
    seed=st.integers(0, 99),
)
def test_no_cluster_is_on_both_sides_and_a_fraction_uses_every_row(
    clusters: list[int], fraction: float, seed: int
):
    try:
        sides = assign(clusters, Sizes(eval_fraction=fraction), seed=seed)
    except DataError:
        wanted = min(max(1, round(fraction * len(clusters))), len(clusters) - 1)
        assert min(Counter(clusters).values()) > wanted or len(set(clusters)) == 1
        return
    train, held_out, unused = counts(sides)
    assert unused == 0
    assert 1 <= held_out <= max(1, round(fraction * len(clusters)))
    assert train >= 1
    assert_clusters_whole(clusters, sides)


@given(
    clusters=st.lists(st.integers(0, 12), min_size=2, max_size=60),
    data=st.data(),
    seed=st.integers(0, 99),
)
def test_counts_are_met_exactly_or_refused(clusters: list[int], data: st.DataObject, seed: int):
    train = data.draw(st.integers(1, len(clusters) - 1))
    held_out = data.draw(st.integers(1, len(clusters) - train))
    try:
        sides = assign(clusters, Sizes(train=train, eval=held_out), seed=seed)
    except DataError:
        assert len(set(clusters)) < len(clusters), "distinct rows can always be counted out"
        return
    assert counts(sides) == (train, held_out, len(clusters) - train - held_out)
    assert_clusters_whole(clusters, sides)


def assert_clusters_whole(clusters: list[int], sides: list[Side]) -> None:
    where: dict[int, set[Side]] = {}
    for cluster, side in zip(clusters, sides, strict=True):
        where.setdefault(cluster, set()).add(side)
    assert not any({Side.TRAIN, Side.EVAL} <= found for found in where.values())


@pytest.mark.parametrize(
    ("rows", "fraction", "held_out"), [(100, 0.2, 20), (10, 0.25, 2), (10, 0.01, 1), (10, 0.99, 9)]
)
def test_a_fraction_of_distinct_rows_is_exact(rows: int, fraction: float, held_out: int):
    assert counts(assign(range(rows), Sizes(eval_fraction=fraction), seed=3)) == (
        rows - held_out,
        held_out,
        0,
    )


def test_the_seed_decides_and_repeats():
    def drawn(seed: int) -> list[Side]:
        return assign(range(50), Sizes(train=20, eval=20), seed=seed)

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_strata_have_equal_shares_on_both_sides():
    strata = ["a"] * 60 + ["b"] * 30 + ["c"] * 10
    for sizes, train, held_out in [
        (Sizes(eval_fraction=0.2), {"a": 48, "b": 24, "c": 8}, {"a": 12, "b": 6, "c": 2}),
        (Sizes(train=20, eval=10), {"a": 12, "b": 6, "c": 2}, {"a": 6, "b": 3, "c": 1}),
    ]:
        sides = assign(range(100), sizes, seed=0, strata=strata)
        assert Counter(s for s, side in zip(strata, sides, strict=True) if side is Side.TRAIN) == train
        assert Counter(s for s, side in zip(strata, sides, strict=True) if side is Side.EVAL) == held_out


def test_shares_that_are_no_whole_rows_go_to_the_largest_remainders():
    strata = ["a"] * 5 + ["b"] * 3 + ["c"] * 2
    for seed in range(10):
        sides = assign(range(10), Sizes(eval_fraction=0.4), seed=seed, strata=strata)
        held_out = Counter(s for s, side in zip(strata, sides, strict=True) if side is Side.EVAL)
        assert held_out == {"a": 2, "b": 1, "c": 1}


def test_the_smallest_cluster_is_drawn_in_part_where_counts_need_it():
    clusters = [0] * 3 + [1] * 6
    for seed in range(10):
        sides = assign(clusters, Sizes(train=6, eval=2), seed=seed)
        assert counts(sides[:3]) == (0, 2, 1)
        assert counts(sides[3:]) == (6, 0, 0)


def test_what_a_stratum_cannot_give_whole_comes_from_others():
    clusters = [0, 0, 0, 0, 1, 2, 3, 4]
    strata = ["a"] * 4 + ["b"] * 4
    sides = assign(clusters, Sizes(eval_fraction=0.25), seed=0, strata=strata)
    assert sides[:4] == [Side.TRAIN] * 4
    assert counts(sides) == (6, 2, 0)


def test_a_cluster_larger_than_the_evaluation_side_is_trained_on():
    assert counts(assign([0] * 9 + [1, 2, 3], Sizes(eval_fraction=0.2), seed=0)) == (10, 2, 0)


@pytest.mark.parametrize(
    ("clusters", "sizes", "why"),
    [
        ([0] * 10, Sizes(eval_fraction=0.5), "10 rows make 1 clusters, the largest of 10 rows"),
        ([0] * 10, Sizes(train=5, eval=5), "10 rows make 1 clusters"),
        ([0] * 5 + [1] * 5, Sizes(train=7, eval=3), "10 rows make 2 clusters"),
        (range(10), Sizes(train=8, eval=3), "8 for training and 3 for evaluation of 10"),
        ([0], Sizes(eval_fraction=0.5), "there are only 1 rows"),
        ([], Sizes(eval_fraction=0.5), "there are only 0 rows"),
    ],
)
def test_what_cannot_be_split_is_refused(clusters: list[int], sizes: Sizes, why: str):
    with pytest.raises(DataError, match=why):
        assign(clusters, sizes, seed=0)


@given(
    rows=st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=4, max_size=60),
    fraction=st.floats(0.05, 0.6),
    seed=st.integers(0, 9),
)
def test_only_labelled_rows_are_held_out_and_none_like_them_is_trained_on(rows, fraction, seed):
    clusters, labelled = [cluster for cluster, _ in rows], [label for _, label in rows]
    known = [cluster for cluster, label in rows if label]
    sizes = Sizes(eval_fraction=fraction)
    try:
        expected = assign(known, sizes, seed=seed)
    except (DataError, ValueError):
        return
    sides = assign_labelled(clusters, labelled, sizes, seed=seed)
    assert [side for side, label in zip(sides, labelled, strict=True) if label] == expected
    held_out = {cluster for cluster, side in zip(clusters, sides, strict=True) if side is Side.EVAL}
    for cluster, label, side in zip(clusters, labelled, sides, strict=True):
        if not label:
            assert side is (Side.UNUSED if cluster in held_out else Side.TRAIN)
