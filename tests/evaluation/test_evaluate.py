import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from support import alone

from maporl_cli.core.errors import DataError, RunFailed
from maporl_cli.core.randomness import Draws, Greedy, Sampled
from maporl_cli.core.types import Episode, Question, Score, Turn
from maporl_cli.evaluation.evaluate import Answers, Result, answer_all, evaluate
from maporl_cli.evaluation.records import Row
from maporl_cli.evaluation.statistics import wilson

OPTIONS = {"A": "aspirin", "B": "bed rest", "C": "codeine"}


def questions(*gold: str) -> list[Question]:
    return [
        Question(id=f"q{place}", text="?", options=OPTIONS, answer=letter)
        for place, letter in enumerate(gold)
    ]


def turn(agent: str, prompt: int, sampled: int, round: int = 0) -> Turn:
    return Turn(agent, round, (0,) * prompt, (1,) * sampled, (-1.0,) * sampled, f"I am the {agent}", True, 0)


class Team:
    """Gives the prepared answers, by question id, and remembers how it was asked."""

    def __init__(self, answers: dict[str, str | None], before: Callable[[], None] = lambda: None) -> None:
        self.answers, self.before = answers, before
        self.batches: list[list[str]] = []
        self.draws: list[Draws] = []

    def play_all(
        self, batches: Sequence[Sequence[Episode]], draws: Draws, on_end: Callable[[int], None] | None
    ) -> None:
        for index, episodes in enumerate(batches):
            self.play(episodes, draws)
            assert on_end is not None
            on_end(index)

    def play(self, episodes: Sequence[Episode], draws: Draws) -> None:
        self.before()
        self.batches.append([episode.question.id for episode in episodes])
        self.draws.append(draws)
        for episode in episodes:
            assert not episode.turns
            assert episode.answer is None
            episode.turns += [turn("planner", 5, 2), turn("reporter", 7, 3, round=1)]
            episode.answer = self.answers[episode.question.id]


def run(team: Team, asked: list[Question], records: Path | None = None, **options: Any) -> Result:
    return evaluate(
        team,
        asked,
        **({"draws": Greedy(), "batch_size": 2, "records": records, "ranks": alone("reporter")} | options),
    )


def test_counts_right_wrong_and_unreadable() -> None:
    result = run(Team({"q0": "A", "q1": "C", "q2": None, "q3": "B"}), questions("A", "B", "C", "B"))
    assert (result.n, result.correct, result.invalid) == (4, 2, 1)
    assert result.accuracy == 0.5
    assert result.ci95 == wilson(2, 4)
    assert result.tokens == 4 * (5 + 2 + 7 + 3)
    assert result.seconds >= 0
    assert result.records is None


def test_batches_keep_the_order_and_the_draws() -> None:
    team, draws, seen = Team(dict.fromkeys(("q0", "q1", "q2", "q3", "q4"), "A")), Sampled(seed=3), []
    run(team, questions(*"ABCAB"), draws=draws, on_progress=lambda *progress: seen.append(progress))
    assert team.batches == [["q0", "q1"], ["q2", "q3"], ["q4"]]
    assert team.draws == [draws] * 3
    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_a_record_a_question(tmp_path: Path) -> None:
    records = tmp_path / "eval" / "before.records.jsonl"
    result = run(Team({"q0": "A", "q1": None, "q2": "A"}), questions("A", "B", "C"), records)
    rows = [json.loads(line) for line in records.read_text().splitlines()]
    assert rows[0] == {
        "id": "q0",
        "seed": 0,
        "gold": "A",
        "answer": "A",
        "valid": True,
        "correct": True,
        "options": OPTIONS,
        "labels": {},
        "confidence": None,
        "tokens": 17,
        "sampled": 5,
        "turns": [
            {"agent": "planner", "round": 0, "stance": None, "text": "I am the planner"},
            {"agent": "reporter", "round": 1, "stance": None, "text": "I am the reporter"},
        ],
        "official": None,
    }
    assert [(row["id"], row["answer"], row["valid"], row["correct"]) for row in rows[1:]] == [
        ("q1", None, False, False),
        ("q2", "A", True, False),
    ]
    assert result.records == records
    assert sum(row["tokens"] for row in rows) == result.tokens


def test_finished_batches_are_on_disk_when_a_later_one_fails(tmp_path: Path) -> None:
    records = tmp_path / "records.jsonl"
    calls: list[int] = []

    def lines_so_far() -> None:
        calls.append(len(records.read_text().splitlines()) if records.exists() else 0)
        if len(calls) == 3:
            raise KeyboardInterrupt

    team = Team(dict.fromkeys(("q0", "q1", "q2", "q3", "q4"), "A"), before=lines_so_far)
    with pytest.raises(KeyboardInterrupt):
        run(team, questions(*"ABCAB"), records)
    assert calls == [0, 2, 4]
    assert records.read_text().endswith("}\n")


def test_an_earlier_evaluation_is_replaced_not_added_to(tmp_path: Path) -> None:
    records = tmp_path / "records.jsonl"
    for _ in range(2):
        run(Team({"q0": "A"}), questions("A"), records)
    assert len(records.read_text().splitlines()) == 1


def test_what_was_said_stays_on_its_line(tmp_path: Path) -> None:
    class Talker(Team):
        def play(self, episodes: Sequence[Episode], draws: Draws) -> None:
            super().play(episodes, draws)
            said = Turn("reporter", 0, (), (), (), "one\ntwo\u2028three\x85four", True, 0)
            episodes[0].turns[:] = [said]

    records = tmp_path / "records.jsonl"
    run(Talker({"q0": "A"}), questions("A"), records)
    (line,) = records.read_text().splitlines()
    assert json.loads(line)["turns"][0]["text"] == "one\ntwo\u2028three\x85four"


def test_free_text_is_compared_as_answers_are() -> None:
    asked = [Question(id="q0", text="?", options={}, answer="Aspirin  daily")]
    assert run(Team({"q0": "aspirin daily"}), asked).correct == 1


def test_no_question_is_an_error_and_leaves_the_records_alone(tmp_path: Path) -> None:
    records = tmp_path / "records.jsonl"
    records.write_text("{}\n")
    with pytest.raises(DataError, match=r"(?s)no question.*Fix: "):
        run(Team({}), [], records)
    assert records.read_text() == "{}\n"


def test_the_result_as_json(tmp_path: Path) -> None:
    records = tmp_path / "records.jsonl"
    found = run(Team({"q0": "A"}), questions("A"), records).to_json()
    assert json.loads(json.dumps(found)) == found
    assert set(found) == {"accuracy", "ci95", "n", "correct", "invalid", "tokens", "seconds", "records"}
    assert found["records"] == str(records)
    assert found["ci95"] == list(wilson(1, 1))


def answer(team: Team, asked: list[Question], records: Path, **options: Any) -> list[Row]:
    return answers(team, asked, records, **options).rows


def answers(team: Team, asked: list[Question], records: Path, **options: Any) -> Answers:
    episodes = [Episode(question=question, sample=0, step=seed) for seed in range(2) for question in asked]
    return answer_all(
        team,
        episodes,
        **(
            {
                "draws": Greedy(),
                "batch_size": 2,
                "records": records,
                "ranks": alone("reporter"),
                "resume": True,
            }
            | options
        ),
    )


def three(before: Callable[[], None] = lambda: None) -> Team:
    return Team(dict.fromkeys(("q0", "q1", "q2"), "A"), before=before)


def cut_short(records: Path, batches: int) -> str:
    """Records of so many of the three batches, as a killed process leaves them; what all of them would be."""
    answer(three(), questions(*"ABC"), records)
    whole = records.read_text()
    records.write_text("".join(whole.splitlines(keepends=True)[: 2 * batches]))
    return whole


def test_every_seed_has_a_record_of_its_own(tmp_path: Path) -> None:
    rows = answer(three(), questions(*"ABC"), tmp_path / "records.jsonl")
    assert [(row["seed"], row["id"]) for row in rows] == [
        (seed, f"q{place}") for seed in range(2) for place in range(3)
    ]


@pytest.mark.parametrize("batches", range(4))
def test_what_is_answered_is_not_asked_again(tmp_path: Path, batches: int) -> None:
    records = tmp_path / "records.jsonl"
    whole = cut_short(records, batches)
    team = three()
    found = answers(team, questions(*"ABC"), records)
    assert records.read_text() == whole
    assert found.rows == [json.loads(line) for line in whole.splitlines()]
    assert found.asked == 6 - 2 * batches
    assert team.batches == [["q0", "q1"], ["q2", "q0"], ["q1", "q2"]][batches:]


def test_a_record_that_was_cut_short_is_told_of_and_made_again(tmp_path: Path) -> None:
    records, said = tmp_path / "records.jsonl", list[str]()
    whole = cut_short(records, 2)
    records.write_text(records.read_text()[:-20])
    team = three()
    answer(team, questions(*"ABC"), records, warn=said.append)
    assert records.read_text() == whole
    assert team.batches == [["q2", "q0"], ["q1", "q2"]], "a batch is played whole, as it was"
    (told,) = said
    assert f"{records}: line 4" in told


def test_a_damaged_record_is_refused_and_nothing_is_lost(tmp_path: Path) -> None:
    records = tmp_path / "records.jsonl"
    cut_short(records, 2)
    damaged = records.read_text().replace('{"id": "q1"', '"id": "q1"', 1)
    records.write_text(damaged)
    with pytest.raises(RunFailed, match=r"(?s)records\.jsonl.*line 2.*Fix: "):
        answer(three(), questions(*"ABC"), records)
    assert records.read_text() == damaged


def test_batches_that_end_in_another_order_are_recorded_in_the_questions_order(tmp_path: Path) -> None:
    class Backwards(Team):
        def play_all(
            self, batches: Sequence[Sequence[Episode]], draws: Draws, on_end: Callable[[int], None] | None
        ) -> None:
            assert on_end is not None
            for index in reversed(range(len(batches))):
                self.play(batches[index], draws)
                on_end(index)

    records = tmp_path / "records.jsonl"
    rows = answer(Backwards(dict.fromkeys(("q0", "q1", "q2"), "A")), questions(*"ABC"), records)
    assert [row["id"] for row in rows] == ["q0", "q1", "q2"] * 2
    assert [json.loads(line) for line in records.read_text().splitlines()] == rows


def test_parts_of_other_replicas_count_and_are_gone_in_the_end(tmp_path: Path) -> None:
    records = tmp_path / "records.jsonl"
    whole = cut_short(records, 2)
    lines = records.read_text().splitlines(keepends=True)
    records.write_text("".join(lines[:2]))
    part = records.with_name("records.jsonl.part_1")
    part.write_text("".join(lines[2:]))
    team = three()
    answer(team, questions(*"ABC"), records)
    assert (records.read_text(), team.batches) == (whole, [["q1", "q2"]])
    assert not part.exists()


def test_a_judge_scores_what_is_recorded(tmp_path: Path) -> None:
    def judge(episodes: Sequence[Episode]) -> None:
        for episode in episodes:
            episode.score = Score(0.5, 1.0, 0.75, {"accuracy": 0.5}, {"accuracy": "half"})

    (row, *_) = answer(three(), questions(*"ABC"), tmp_path / "records.jsonl", judge=judge)
    assert row["score"] == {
        "total": 0.75,
        "medical": 0.5,
        "components": {"accuracy": 0.5},
        "reasons": {"accuracy": "half"},
    }


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: line.replace(b'"correct"', b'"right"'),
        lambda line: line.replace(b'"seed": 0', b'"seed": [0]'),
        lambda line: line.replace(b'"confidence": null', b'"confidence": NaN'),
        lambda line: line.replace(b'"id": "q0"', b'"id": "\xff"'),
    ],
    ids=["a figure is missing", "another type", "not a number", "no text"],
)
def test_what_is_no_record_is_refused_with_its_line(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    records = tmp_path / "records.jsonl"
    answer(three(), questions(*"ABC"), records)
    first, *others = records.read_bytes().splitlines(keepends=True)
    assert damage(first) != first
    records.write_bytes(damage(first) + b"".join(others))
    with pytest.raises(RunFailed, match=r"(?s)line 1.*Fix: "):
        answer(three(), questions(*"ABC"), records)
