"""Which rows go to which side of a split, given what must stay together."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from maporl_cli.core.errors import DataError
from maporl_cli.core.randomness import keyed_generator


class Side(Enum):
    """Where a row of a split goes."""

    TRAIN = "train"
    EVAL = "eval"
    UNUSED = "unused"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large the sides of a split shall be: a fraction of all rows, or two counts.

    With a fraction every row is used; with counts those beyond them are not.
    """

    eval_fraction: float | None = None
    train: int | None = None
    eval: int | None = None


def assign(
    clusters: Sequence[int], sizes: Sizes, *, seed: int, strata: Sequence[str] | None = None
) -> list[Side]:
    """The side of each row; rows of a cluster are never on both sides.

    Args:
        clusters: the cluster of each row.
        sizes: what is wanted. With a fraction, clusters that do not fit may leave the evaluation
            side smaller; counts are met exactly.
        seed: decides which clusters are drawn.
        strata: a value a row that both sides shall have in equal shares; a cluster counts as
            its first row's.

    Raises:
        DataError: there are too few rows, or too few that may be parted.
    """
    members: dict[int, list[int]] = {}
    for row, cluster in enumerate(clusters):
        members.setdefault(cluster, []).append(row)
    groups = list(members.values())
    order: list[int] = keyed_generator("split", seed).permutation(len(groups)).tolist()
    drawn = [groups[i] for i in order]
    rows = len(clusters)
    values = strata if strata is not None else [""] * rows
    wanted_train, wanted_eval = _wanted(sizes, rows)
    counted = sizes.eval_fraction is None
    held_out, rest = _draw(drawn, values, wanted_eval, exact=counted)
    kept = (
        _draw(rest, values, wanted_train, exact=True)[0]
        if counted
        else [row for group in rest for row in group]
    )
    short = len(held_out) < wanted_eval if counted else not held_out
    if short or len(kept) < (wanted_train if counted else 1):
        raise DataError(
            "The rows cannot be split as asked.",
            why=f"near-duplicates must stay on one side: {rows} rows make {len(groups)} clusters, "
            f"the largest of {max(map(len, groups))} rows",
            fix="ask for fewer rows, or give training and evaluation questions in files of their own",
        )
    sides = [Side.UNUSED] * rows
    for row in kept:
        sides[row] = Side.TRAIN
    for row in held_out:
        sides[row] = Side.EVAL
    return sides


def assign_labelled(
    clusters: Sequence[int], labelled: Sequence[bool], sizes: Sizes, *, seed: int
) -> list[Side]:
    """As `assign`, of the labelled rows; others are trained on, or unused where one like them is held out.

    Raises:
        DataError: as `assign`.
    """
    known = [row for row, has_label in enumerate(labelled) if has_label]
    sides = [Side.TRAIN] * len(clusters)
    for row, side in zip(known, assign([clusters[row] for row in known], sizes, seed=seed), strict=True):
        sides[row] = side
    held_out = {cluster for cluster, side in zip(clusters, sides, strict=True) if side is Side.EVAL}
    return [
        side if has_label or cluster not in held_out else Side.UNUSED
        for cluster, has_label, side in zip(clusters, labelled, sides, strict=True)
    ]


def _wanted(sizes: Sizes, rows: int) -> tuple[int, int]:
    """Rows wanted for training and evaluation."""
    if sizes.eval_fraction is not None:
        held_out = min(max(1, round(sizes.eval_fraction * rows)), rows - 1)
        wanted = rows - held_out, held_out
    else:
        wanted = sizes.train or 0, sizes.eval or 0
    if min(wanted) < 1 or sum(wanted) > rows:
        raise DataError(
            "The rows cannot be split as asked.",
            why=f"{wanted[0]} for training and {wanted[1]} for evaluation of {rows} distinct rows"
            if rows > 1
            else f"there are only {rows} rows",
            fix="ask for fewer rows, at least one for each side",
        )
    return wanted


def _draw(
    groups: Sequence[list[int]], values: Sequence[str], wanted: int, *, exact: bool
) -> tuple[list[int], list[list[int]]]:
    """Rows of whole groups, `wanted` of them if that can be, and the groups that were not drawn.

    First each stratum fills its share, then what is missing comes from any group. With `exact`
    a last group is drawn in part; the rest of it goes to neither side.
    """
    room = _shares(groups, values, wanted)
    drawn: list[int] = []
    left: list[list[int]] = []
    for group in groups:
        if len(group) <= room[values[group[0]]]:
            room[values[group[0]]] -= len(group)
            drawn += group
        else:
            left.append(group)
    groups, left = left, []
    for group in groups:
        if len(drawn) + len(group) <= wanted:
            drawn += group
        else:
            left.append(group)
    if exact and left and len(drawn) < wanted:
        # The smallest, so that as few rows as possible are left unused.
        part = min(left, key=len)
        left.remove(part)
        drawn += part[: wanted - len(drawn)]
    return drawn, left


def _shares(groups: Sequence[list[int]], values: Sequence[str], wanted: int) -> Counter[str]:
    """`wanted` rows shared out in proportion to each stratum's rows, by largest remainder."""
    rows: Counter[str] = Counter()
    for group in groups:
        rows[values[group[0]]] += len(group)
    total = rows.total()
    exact = {value: wanted * count / total for value, count in rows.items()}
    shares = Counter({value: math.floor(share) for value, share in exact.items()})
    remainders = sorted(exact, key=lambda value: (shares[value] - exact[value], value))
    for value in remainders[: wanted - shares.total()]:
        shares[value] += 1
    return shares
