"""MAPoRL's return (Park et al. 2025, arXiv 2502.18439): one's own score now, the team's mean later.

`R_ta = (V_ta + Σ_{t'>t} γ^{t'−t} · mean_j V_t'j) / Σ_{t'≥t} γ^{t'−t}` for agent `a` in round `t`: a
mean of scores, each round's weighted by how far ahead it is.

The paper scores every turn with a verifier. Here one scores 1 where the answer it stands for is right and 0
where it is wrong. One that stands for none, such as a plan, and the episode's last, which is the team's
answer, score the episode's total; so does every turn on a question without a gold answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from maporl_cli.core.config import TrainConfig
from maporl_cli.core.types import Episode
from maporl_cli.rewards.stances import gives_gold, stance


def maporl_credit(episode: Episode, train: TrainConfig) -> list[float]:
    """The paper's return of each turn.

    Raises:
        ValueError: the episode has no score yet.
    """
    if episode.score is None:
        raise ValueError("credit needs a scored episode")
    taken = [stance(episode.question, turn) for turn in episode.turns[:-1]]
    total = episode.score.total
    known = episode.question.has_gold
    scores = [
        float(gives_gold(episode.question, answer)) if known and answer is not None else total
        for answer in taken
    ]
    return looking_ahead([turn.round for turn in episode.turns], [*scores, total], train.gamma)


def looking_ahead(rounds: Sequence[int], scores: Sequence[float], gamma: float) -> list[float]:
    """The return of each turn.

    Args:
        rounds, scores: of each turn.
        gamma: weight of the next round's scores beside one's own; the paper has .3.
    """
    of_round: dict[int, list[float]] = {}
    for number, value in zip(rounds, scores, strict=True):
        of_round.setdefault(number, []).append(value)
    means = {number: fmean(values) for number, values in of_round.items()}
    returns: list[float] = []
    for number, own in zip(rounds, scores, strict=True):
        later = [other for other in means if other > number]
        weights = [gamma ** (other - number) for other in later]
        ahead = sum(weight * means[other] for weight, other in zip(weights, later, strict=True))
        returns.append((own + ahead) / (1 + sum(weights)))
    return returns
