"""How each agent speaks: the length, form and language of its turns, in which a collapse shows early.

Language is measured without a second model, against what the question itself gives the team (its text,
patient, options and evidence), so that words which teammates make up between them do not count as known:

| measure | what it sees | what it does not see |
|---|---|---|
| `novel`: share of words that the question does not give | magic words, babble, another language | its words in a senseless order; whether a new word is a good one |
| `repeats`: share of rows of three words that stood in the turn before | loops | a phrase that is said once in every episode |
| `foreign`: share of letters of a script that the question does not use | a switch of script | a switch of language within a script |

How far a policy is from its start, token by token, is `<agent>:kl`, where the loss holds it.
"""  # noqa: E501  # a table's rows cannot be broken

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from maporl_cli.agents.roles import Role
from maporl_cli.agents.team import Agent
from maporl_cli.core.types import Episode, Turn

_WORD = re.compile(r"\w+(?:[-'’]\w+)*")
_ROW = 3


def conduct(episodes: Sequence[Episode], agents: Sequence[Agent]) -> dict[str, float]:
    """What an agent's turns of a step come to, all of them together.

    Returns:
        `<agent>:length` (sampled tokens a turn), `:format` (share of turns that ended by themselves in the
        role's form, the episode's last one with an answer that can be read), `:format:<field>` (share that
        hold it), `:novel`, `:repeats`, `:foreign`. What nothing was said of is absent.
    """
    roles = {agent.name: agent.role for agent in agents}
    parts, wholes = Counter[str](), Counter[str]()
    for episode in episodes:
        given = _Given.by(episode)
        for turn in episode.taken:
            role = roles[turn.agent]
            for measure, part, whole in (*_form(episode, turn, role), *_language(turn.text, given)):
                parts[f"{turn.agent}:{measure}"] += part
                wholes[f"{turn.agent}:{measure}"] += whole
    return {name: parts[name] / whole for name, whole in wholes.items() if whole}


Share = tuple[str, int, int]
"""A measure's name, how many there were, of how many."""


def _form(episode: Episode, turn: Turn, role: Role) -> Iterator[Share]:
    readable = turn is not episode.turns[-1] or episode.answer is not None
    yield "length", len(turn.token_ids), 1
    yield "format", turn.finished and role.has_form(turn.text) and readable, 1
    for name, pattern in role.fields.items():
        yield f"format:{name}", pattern.search(turn.text) is not None, 1


@dataclass(frozen=True, slots=True)
class _Given:
    """The words and the scripts that a question gives its team."""

    words: frozenset[str]
    scripts: frozenset[str]

    @staticmethod
    def by(episode: Episode) -> _Given:
        question = episode.question
        snippets = (*question.evidence, *episode.evidence)
        texts = (question.text, question.context, *question.options, *question.options.values())
        text = "\n".join((*texts, *(snippet.text for snippet in snippets)))
        return _Given(frozenset(_words(text)), frozenset(map(_script, filter(str.isalpha, set(text)))))


def _language(text: str, given: _Given) -> Iterator[Share]:
    words = _words(text)
    rows = Counter(zip(*(words[start:] for start in range(_ROW)), strict=False))
    letters = Counter(filter(str.isalpha, text))
    foreign = sum(count for letter, count in letters.items() if _script(letter) not in given.scripts)
    yield "novel", sum(word not in given.words for word in words), len(words)
    yield "repeats", rows.total() - len(rows), rows.total()
    yield "foreign", foreign, letters.total()


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


@lru_cache(maxsize=4096)
def _script(letter: str) -> str:
    """The first word of its name in Unicode: LATIN, GREEK, CYRILLIC, CJK, …"""
    return unicodedata.name(letter, "").partition(" ")[0]
