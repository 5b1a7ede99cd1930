"""Collaboration: whether the team's talk moved the answer the right way, not the words "building on".

Every turn that stands for an option has a stance. A right one earns .8, and 1.0 where it is the first
to be kept against a teammate who stood for another; a wrong one earns 0, or .3 where its agent corrects
it later and gives a reason. Right after wrong earns no more than right after right, or it would pay to
be wrong first. A stance without a reason of its own (a statement on a concept, with words that neither the
prompt nor a teammate has: to say the same in another order is none) earns .4 of that, and a turn without a
word earns 0. The average is multiplied by the
share of the turns' words that are not copied from teammates.
"""

from __future__ import annotations

from maporl_cli.core.types import Episode
from maporl_cli.rewards.component import Measure, register_component
from maporl_cli.rewards.copying import copied, earlier_turns
from maporl_cli.rewards.sentences import READ, words_of
from maporl_cli.rewards.stances import gives_gold, stance
from maporl_cli.rewards.statements import own_statements, substance
from maporl_cli.rewards.stems import content_stems

_RIGHT, _KEPT, _CORRECTED, _BARE = 0.8, 1.0, 0.3, 0.4
_NEW = 2
"""Words of its own that make a reason."""
_SILENT = ""
"""The stance of a turn without a word: a team that says nothing has not nothing to be judged by."""


def collaboration(episode: Episode) -> Measure | None:
    """How the stances went; None where fewer than two turns have one, or no gold answer tells them apart."""
    question = episode.question
    if not question.has_gold:
        return None
    taken = [
        (index, found)
        for index, turn in enumerate(episode.turns)
        if (found := stance(question, turn) if words_of(turn.text) else _SILENT) is not None
    ]
    if len(taken) < 2:
        return None
    values: list[float] = []
    stood: dict[str, bool] = {}
    wrong: dict[str, tuple[int, float]] = {}
    dissent: set[str] = set()  # who stood for another option since a teammate last held on to the right one
    for index, found in taken:
        agent = episode.turns[index].agent
        right = gives_gold(question, found)
        weight = 1.0 if _has_reason(episode, index) else _BARE
        value = 0.0
        if not right:
            wrong[agent] = len(values), _CORRECTED * weight
            dissent.add(agent)
        else:
            if agent in wrong and weight == 1.0:
                place, corrected = wrong.pop(agent)
                values[place] = corrected
            value = _RIGHT
            if stood.get(agent, False) and dissent - {agent}:
                value = _KEPT
                dissent.clear()
            value *= weight
        values.append(value)
        stood[agent] = right
    if not any(values):
        return Measure(0.0, "no turn stood for the gold answer")
    share = copied_share(episode)
    value = sum(values) / len(values) * (1 - share)
    return Measure(value, "" if value else "every turn is a copy of a teammate's")


def _has_reason(episode: Episode, index: int) -> bool:
    """Whether the turn says something of a concept that no teammate has said, in whatever order."""
    new = {
        word
        for statement in own_statements(episode, index)
        if statement.concepts
        for word in substance(episode.question, statement, concepts=True)
    }
    said = frozenset[str]().union(*(content_stems(text[:READ]) for text in earlier_turns(episode, index)))
    return len(new - said) >= _NEW


def copied_share(episode: Episode) -> float:
    """The share of all turns' words that stand in spans copied from an earlier turn."""
    count = total = 0
    options = tuple(episode.question.options.values())
    for index, turn in enumerate(episode.turns):
        words = words_of(turn.text[:READ])
        marks = copied(words, earlier_turns(episode, index), options)
        count += sum(marks)
        total += len(words)
    return count / total if total else 0.0


register_component("collaboration", collaboration)
