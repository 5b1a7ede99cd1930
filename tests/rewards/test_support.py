"""Sources and what may be claimed of them.

`claims.txt`: behind a source ("=") the claims that it supports ("+") and those that it does not ("-").
"""

from __future__ import annotations

from pathlib import Path

import pytest
from asthma_case import played

from maporl_cli.core.types import Question, Snippet
from maporl_cli.rewards.claims import claims
from maporl_cli.rewards.support import supports


def rows():
    source = ""
    for line in Path(__file__).with_name("claims.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("="):
            source = line[2:]
        elif line:
            yield pytest.param(source, line[2:], line.startswith("+"), id=line)


def says(source: str, claim: str) -> bool:
    question = Question(
        "q",
        "A man is admitted to the ward. Which step is the best?",
        {"A": "the first one", "B": "another one"},
        "A",
        rationale=source,
        evidence=(Snippet("e1", source, "rct"),),
    )
    made = list(claims(played(f"{claim} [e1].", question=question)))
    assert [found.cited for found in made] == [("e1",)]
    return supports(question, made[0], question.evidence[0])


@pytest.mark.parametrize(("source", "claim", "said"), list(rows()))
def test_what_a_source_says_of_a_claim(source, claim, said):
    assert says(source, claim) == said
