import json
from dataclasses import replace
from pathlib import Path

from maporl_cli.core.types import Episode, Question, Score, Snippet, Turn
from maporl_cli.monitoring.episodes import EpisodeFiles
from maporl_cli.monitoring.monitor import Monitor


def episode(answer: str | None = "B", sample: int = 0) -> Episode:
    question = Question(
        id="q1",
        text="What now?",
        options={"A": "wait", "B": "act"},
        answer="B",
        context="allergic to penicillin",
        rationale="secret reasoning",
        labels={"medical_task": "Treatment"},
    )
    turn = Turn(
        "planner", 0, (1, 2), (3, 4), (-0.5, -0.25), "look it up", True, 7, (Snippet("e1", "found", "rct"),)
    )
    score = Score(task=1.0, form=0.75, total=1.2, components={"accuracy": 1.0}, reasons={})
    return Episode(question, sample, 10, [turn], answer, score, inherited=1, measured={"lost": (0.5,)})


def test_a_file_a_step_with_every_token(tmp_path: Path) -> None:
    path = EpisodeFiles(tmp_path / "episodes").write(10, [episode(), episode(None, sample=1)])
    assert path == tmp_path / "episodes" / "step_000010.jsonl"
    first, second = map(json.loads, path.read_text().splitlines())
    assert first["turns"] == [
        {
            "agent": "planner",
            "round": 0,
            "prompt_ids": [1, 2],
            "token_ids": [3, 4],
            "logprobs": [-0.5, -0.25],
            "text": "look it up",
            "finished": True,
            "policy_version": 7,
            "evidence": [{"id": "e1", "text": "found", "level": "rct"}],
        }
    ]
    assert first["question"]["options"] == {"A": "wait", "B": "act"}
    assert (first["step"], first["sample"], first["answer"], first["correct"]) == (10, 0, "B", True)
    assert first["score"] == {
        "task": 1.0,
        "form": 0.75,
        "total": 1.2,
        "components": {"accuracy": 1.0},
        "reasons": {},
    }
    assert (first["inherited"], first["measured"]) == (1, {"lost": [0.5]})
    assert (second["sample"], second["answer"], second["correct"]) == (1, None, False)
    assert "secret reasoning" not in path.read_text()


def test_without_a_gold_answer_nobody_says_right_or_wrong(tmp_path: Path) -> None:
    played = episode()
    played.question = replace(played.question, answer="")
    played.verified = 0.25
    told = json.loads(EpisodeFiles(tmp_path).write(1, [played]).read_text())
    assert (told["correct"], told["verified"]) == (None, 0.25)


def test_an_unscored_episode_has_no_score(tmp_path: Path) -> None:
    played = episode()
    played.score = None
    path = EpisodeFiles(tmp_path).write(1, [played])
    assert json.loads(path.read_text())["score"] is None


def test_a_repeated_step_replaces_its_file(tmp_path: Path) -> None:
    monitor = Monitor([], episodes=EpisodeFiles(tmp_path))
    monitor.episodes(3, [episode(), episode()])
    monitor.episodes(3, [episode()])
    assert len((tmp_path / "step_000003.jsonl").read_text().splitlines()) == 1


def test_without_files_nothing_is_kept() -> None:
    Monitor([]).episodes(1, [episode()])
