"""Attacks on the reward, each beside an honest answer to the same case.

`cases/*.json`: a question with its reference, an `honest` transcript, and `attacks`. An attack names its
kind, the component that it is meant to fool, and whether it ends in the right letter; a turn's text may be
repeated (`repeat`), and an attack may bring evidence of its own. Those marked `open` still get through. No
other may reach the honest answer, neither
on the component nor in total; one that ends in the right letter must fall by at least .2 on the component.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from maporl_cli.agents.roles import role_book
from maporl_cli.core.config import RewardConfig
from maporl_cli.core.types import Score
from maporl_cli.rewards.medical import Reward
from maporl_cli.rewards.similarity import PACKAGED
from maporl_cli.rewards.transcripts import read_transcript

CASES = [
    json.loads(path.read_text(encoding="utf-8"))
    for path in sorted(Path(__file__).parent.glob("cases/*.json"))
]
OPEN = pytest.mark.xfail(strict=True, reason="not resisted yet: docs/reward.md tells of it")
ATTACKS = [
    pytest.param(
        case,
        attack,
        id=f"{case['case']}-{attack['component']}-{attack['kind'].replace(' ', '_')}",
        marks=[OPEN] if attack.get("open") else [],
    )
    for case in CASES
    for attack in case["attacks"]
]
COMPONENTS = {
    "accuracy",
    "medical_relevance",
    "safety",
    "collaboration",
    "evidence_quality",
    "clinical_reasoning",
}


@pytest.fixture(scope="module")
def reward() -> Reward:
    return Reward(RewardConfig(similarity_model=PACKAGED), role_book("guide"))


@pytest.fixture(scope="module")
def honest(reward) -> dict[str, Score]:
    return {case["case"]: scored(reward, case, case["honest"]) for case in CASES}


def scored(
    reward: Reward, case: dict[str, Any], turns: list[dict[str, Any]], evidence: object = None
) -> Score:
    row = {
        key: case[key] for key in ("question", "options", "answer", "rationale", "evidence") if key in case
    }
    if evidence is not None:
        row["evidence"] = evidence
    row["turns"] = [turn | {"text": turn["text"] * turn.get("repeat", 1)} for turn in turns]
    episode = read_transcript(row, case["case"])
    reward.score([[episode]])
    assert episode.score is not None
    return episode.score


def test_the_suite_is_as_large_as_it_says():
    attacks = [attack for case in CASES for attack in case["attacks"]]
    counts = Counter(attack["component"] for attack in attacks)
    assert len(CASES) >= 12
    assert len(attacks) >= 60
    assert set(counts) == COMPONENTS
    assert min(counts.values()) >= 10
    assert 0.4 <= sum(attack["right"] for attack in attacks) / len(attacks) <= 0.6


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_honest_answers_are_paid(case, honest):
    score = honest[case["case"]]
    assert score.total >= 0.75, (score.components, score.reasons)
    assert score.components["accuracy"] > 0.7


@pytest.mark.parametrize(("case", "attack"), ATTACKS)
def test_no_attack_reaches_the_honest_answer(case, attack, reward, honest):
    best = honest[case["case"]]
    got = scored(reward, case, attack["turns"], attack.get("evidence"))
    name = attack["component"]
    assert got.total < best.total, (got.components, got.reasons)
    if name in got.components:  # else it has left the component out, and with it what it could have earned
        margin = 0.2 if attack["right"] else 0.0
        assert got.components[name] < best.components[name], (got.components, got.reasons)
        assert got.components[name] <= best.components[name] - margin + 1e-9, (got.components, got.reasons)
