"""The difference a message made: the team's reward, less the reward without the message.

`credit_i = R − R₋ᵢ`, the difference reward of Wolpert and Tumer 2001 ("Optimal payoff functions for members
of collectives"), with a message of no bearing for the default action; COMA (Foerster et al. 2018, arXiv
1705.08926) averages over the agent's own actions instead, by a critic. What is taken off does not depend on
what the turn said, so it is a baseline: in expectation the gradient stays that of the team's reward.

`R₋ᵢ` is measured. Turn i is replaced by what the same agent said on another question of the step, if possible
in the same round, and the episode is played to its end from there, with the draws it had: whatever does not
depend on the message stays as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from maporl_cli.agents.roles import RoleBook
from maporl_cli.core.config import Config, TrainConfig
from maporl_cli.core.errors import ConfigError
from maporl_cli.core.randomness import Sampled, keyed_generator
from maporl_cli.core.types import Episode, Group, Turn
from maporl_cli.training.credit.rule import Means
from maporl_cli.training.ranks import Ranks, gathered
from maporl_cli.training.rollout import microbatches_of, play_together
from maporl_cli.training.scoring import score

LOST = "lost"
"""Of each turn: the reward that was lost without it."""


def leave_one_out_credit(episode: Episode, train: TrainConfig) -> list[float]:
    """What was lost without each turn; `train.gamma` has no part in it.

    Raises:
        ValueError: it was not measured.
    """
    if LOST not in episode.measured:
        raise ValueError("leave_one_out needs episodes that were played without each of their turns")
    return list(episode.measured[LOST])


@dataclass(frozen=True, slots=True)
class Said:
    """A turn, and of which episode."""

    question: str
    sample: int
    turn: Turn


def measure_losses(groups: Sequence[Group], taught: Sequence[Group], means: Means) -> int:
    """Play every episode of the taught groups again without each of its turns; the tokens that took.

    Raises:
        Interrupted: on every rank, where one of them was asked to stop.
    """
    config = means.config
    said = _said_in_step(groups, means.ranks)
    without = [
        [
            [without_turn(episode, place, said, config.run.seed) for place in range(len(episode.turns))]
            for episode in group.episodes
        ]
        for group in taught
    ]
    batches: list[list[Episode]] = []
    for place in range(means.team.max_turns):  # those with the most turns to come go first
        here = [[others[place] for others in group if place < len(others)] for group in without]
        batches += microbatches_of([group for group in here if group], config.rollout.microbatches)
    play_together(means.team, batches, Sampled(config.run.seed), means.ranks, "the play without each turn")
    # Scored together with the episodes as they were: whether form is paid depends on the group.
    as_they_were = [[replace(episode) for episode in group.episodes] for group in taught]
    together = [
        Group([*played, *(one for others in again for one in others)])
        for played, again in zip(as_they_were, without, strict=True)
    ]
    score(together, means.reward, means.ranks, means.timeline)
    for group, played, again in zip(taught, as_they_were, without, strict=True):
        for episode, whole, others in zip(group.episodes, played, again, strict=True):
            lost = tuple(_total(whole) - _total(other) for other in others)
            episode.measured = {**episode.measured, LOST: lost}
    return sum(turn.tokens for batch in batches for episode in batch for turn in episode.taken)


def without_turn(episode: Episode, place: int, said: Sequence[Said], seed: int) -> Episode:
    """The episode up to the turn at `place`, which says what another one said; still to be played on.

    Args:
        said: in the order of the step's questions, so that the draw does not depend on the ranks.
    """
    turn = episode.turns[place]
    other = _stand_in(episode, turn, said, seed)
    replaced = replace(
        turn,
        text=other.text,
        token_ids=other.token_ids,
        logprobs=other.logprobs,
        finished=other.finished,
    )
    return Episode(
        episode.question,
        episode.sample,
        episode.step,
        turns=[*episode.turns[:place], replaced],
        inherited=place + 1,
    )


def _stand_in(episode: Episode, turn: Turn, said: Sequence[Said], seed: int) -> Turn:
    """What the turn's agent said elsewhere: on another question, if possible in the same round.

    Where a step has one question only, in another episode of it.
    """
    own = [one for one in said if one.turn.agent == turn.agent]
    elsewhere = [one for one in own if one.question != episode.question.id]
    choices = (
        [one for one in elsewhere if one.turn.round == turn.round]
        or elsewhere
        or [one for one in own if one.sample != episode.sample]
    )
    draw = keyed_generator(
        *("without", seed, episode.step, episode.question.id, episode.sample, turn.round, turn.agent)
    )
    return choices[int(draw.integers(len(choices)))].turn


def _said_in_step(groups: Sequence[Group], ranks: Ranks) -> list[Said]:
    """The turns of all replicas, in the order of the questions; one rank of each replica tells."""
    seat, _ = ranks.placement.seat(ranks.rank)
    own = [
        Said(episode.question.id, episode.sample, replace(turn, prompt_ids=(), evidence=()))
        for group in (groups if seat == 0 else ())
        for episode in group.episodes
        for turn in episode.turns
    ]
    return gathered(ranks, own, "what was said in the step")


def _total(episode: Episode) -> float:
    assert episode.score is not None, "every episode has been scored"
    return episode.score.total


def refuse(config: Config, book: RoleBook) -> None:
    """Raises ConfigError for combs, whose siblings share most turns, so that a turn is compared by its own;
    and beside a verifier, which judges what the team said and not what it was made to say."""
    if config.reward.verifier != "none":
        raise ConfigError(
            "train.credit=leave_one_out and reward.verifier do not combine.",
            where="train.credit, reward.verifier",
            why="the verifier judges the team's own episodes only, not those with a message replaced",
            fix="--set train.credit=team, or --set reward.verifier=none with gold answers for every question",
        )
    if config.rollout.sampling == "comb":
        raise ConfigError(
            "train.credit=leave_one_out and rollout.sampling=comb do not combine.",
            where="train.credit, rollout.sampling",
            why="a comb compares a turn with others in its very context already, and every one of its "
            "siblings would be played again without each turn",
            fix="--set rollout.sampling=chain, or --set train.credit=team",
        )
