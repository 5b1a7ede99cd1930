"""MAPoRL's incentives (Park et al. 2025, arXiv 2502.18439, §4.3): to revise well, and to be revised by.

On top of the team's reward a turn earns, with a plus where the change is to the right and a minus where it is
to the wrong answer:

| what changed | against what the others said before | towards it |
|---|---|---|
| the agent's own answer | `alpha0`: value extracted from wrong answers | `alpha1`: right ones accepted |

| what changed | the turn itself stood for the other side | for the side they went to |
|---|---|---|
| most of the others' answers | `beta0`: usefully wrong, or right in vain | `beta1`: persuasive |

The paper's agents speak at once, a round at a time; in a team that speaks in turn, "before" and "after" are
the others' last answers before the turn and their first ones after it, of those who gave both. The signs are
the paper's: in its released code those of both betas are turned round.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from maporl_cli.core.config import TrainConfig
from maporl_cli.core.types import Episode
from maporl_cli.rewards.stances import gives_gold, stance
from maporl_cli.training.credit.team import team_credit

Verdict = bool | None
"""Whether an answer is right; None where there is none."""


def influence_credit(episode: Episode, train: TrainConfig) -> list[float]:
    """The team's credit and the turn's incentives, one sum a turn; without a gold answer only the former.

    Raises:
        ValueError: the episode has no score yet.
    """
    question = episode.question
    if not question.has_gold:
        return team_credit(episode, train)
    speakers = [turn.agent for turn in episode.turns]
    taken = [stance(question, turn) for turn in episode.turns]
    verdicts = [None if answer is None else gives_gold(question, answer) for answer in taken]
    earned = incentives(speakers, verdicts, train)
    return [team + own for team, own in zip(team_credit(episode, train), earned, strict=True)]


def incentives(speakers: Sequence[str], verdicts: Sequence[Verdict], train: TrainConfig) -> list[float]:
    """What each turn earns for its own change of mind and for that of the others.

    Args:
        speakers: who speaks, turn by turn.
        verdicts: whether what each turn stands for is right.
    """
    weights = train.influence
    earned: list[float] = []
    for place, (agent, now) in enumerate(zip(speakers, verdicts, strict=True)):
        value = 0.0
        others = dict.fromkeys(name for name in speakers if name != agent)
        said = {name: _last(speakers[:place], verdicts[:place], name) for name in others}
        replied = {name: _first(speakers[place + 1 :], verdicts[place + 1 :], name) for name in others}
        before, heard = _last(speakers[:place], verdicts[:place], agent), _most(said.values())
        if heard is not None and now is not None and before is not None and now != before:
            value += _sign(now) * (weights.alpha1 if now == heard else weights.alpha0)
        both = [name for name in others if said[name] is not None and replied[name] is not None]
        was, became = _most(said[name] for name in both), _most(replied[name] for name in both)
        if was is not None and now is not None and became is not None and became != was:
            value += _sign(became) * (weights.beta1 if now == became else weights.beta0)
        earned.append(value)
    return earned


def _sign(right: bool) -> float:
    return 1.0 if right else -1.0


def _last(speakers: Sequence[str], verdicts: Sequence[Verdict], agent: str) -> Verdict:
    return _first(speakers[::-1], verdicts[::-1], agent)


def _first(speakers: Sequence[str], verdicts: Sequence[Verdict], agent: str) -> Verdict:
    own = (verdict for name, verdict in zip(speakers, verdicts, strict=True) if name == agent)
    return next((verdict for verdict in own if verdict is not None), None)


def _most(verdicts: Iterable[Verdict]) -> Verdict:
    """What most of them are; None where nobody has one, or as many are right as wrong."""
    known = [verdict for verdict in verdicts if verdict is not None]
    right = sum(known)
    return None if 2 * right == len(known) else 2 * right > len(known)
