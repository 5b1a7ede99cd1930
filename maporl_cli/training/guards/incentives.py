"""Guards of what learning is after: whether there is anything to learn from, and whether it is accuracy."""

from __future__ import annotations

from maporl_cli.training.guards.past import (
    ACCURACY,
    REWARD,
    SOLVED,
    Alarm,
    Past,
    first_step,
    means,
    medians,
    moved,
    steps_of,
    trends,
)

_DEAD, _AGREEMENT = "train:dead_groups", "train:agreement"
_MOSTLY = 0.9
"""The share of groups that leaves next to nothing to learn from."""
_FALLEN = 0.03
"""How much of accuracy has to be gone."""
_PAYS = (
    "compare the reward's components (report.html) and read episodes that earn much and are wrong; take out "
    "or weigh down what pays them (reward.weights, reward.extra_weights)"
)


def dead_groups(past: Past) -> Alarm | None:
    """Hardly any group has a spread in its rewards, and not because its questions are solved."""
    rows = past.lately
    found = means(rows, past.now, _DEAD)
    accuracy = means(rows, past.now, ACCURACY)
    if len(rows) < 4 * past.window or found is None or accuracy is None:
        return None
    if min(found) < _MOSTLY or accuracy[1] >= SOLVED:
        return None
    return Alarm(
        "dead_groups",
        first_step(rows),
        f"{found[0]:.0%} of the groups of the last {len(rows)} steps had no spread in their rewards, so next "
        f"to nothing is learned, at an accuracy of {accuracy[1]:.3f}",
        "raise rollout.group_size or team.agents.*.temperature, take questions that are neither too hard nor "
        "too easy, or let the reward tell more apart (reward.weights, reward.format_paid=always)",
    )


def agreement(past: Past) -> Alarm | None:
    """The reward tells right answers from wrong ones less than it did before, and accuracy is past its best.

    The earliest sign of a hole: what the episodes of a group earn differently for is what the policies
    learn, and it shows in the first step that pays for something else, before anybody has learned it.

    `1 − r²` of the correlation is the share of what they learn that is not to be right. It has to be twice as
    much as then, and 5 points more.
    """
    before, now = past.before, past.now
    agreed, accuracy = medians(before, now, _AGREEMENT), means(past.best, now, ACCURACY)
    if agreed is None or accuracy is None or accuracy[1] >= accuracy[0]:
        return None
    then, today = (1 - correlation**2 for correlation in agreed)
    if today < 2 * then + 0.05 or not moved(before, now, _AGREEMENT, "less"):
        return None
    return Alarm(
        "agreement",
        first_step(now),
        f"the reward follows right answers less than in {steps_of(before)} (correlation within groups "
        f"{agreed[0]:.2f}, now {agreed[1]:.2f}), and since {steps_of(past.best)} accuracy went from "
        f"{accuracy[0]:.3f} to {accuracy[1]:.3f}",
        _PAYS,
    )


def divergence(past: Past) -> Alarm | None:
    """The reward rises while accuracy falls, both as trends over the last steps."""
    rows, half = past.lately, 2 * past.window
    reward, accuracy = (means(rows[:half], rows[half:], name) for name in (REWARD, ACCURACY))
    if len(rows) < 2 * half or reward is None or accuracy is None or accuracy[1] > accuracy[0] - _FALLEN:
        return None
    if not (trends(rows, REWARD, "greater") and trends(rows, ACCURACY, "less")):
        return None
    return Alarm(
        "divergence",
        first_step(rows),
        f"from the first to the second half of the last {len(rows)} steps the reward went from "
        f"{reward[0]:.3f} to {reward[1]:.3f} while accuracy went from {accuracy[0]:.3f} to {accuracy[1]:.3f}",
        _PAYS,
    )
