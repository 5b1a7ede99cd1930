"""The record of every answer of an evaluation: a line a question, kept as soon as its batch ends.

An evaluation that was cut short goes on from its records, on any number of ranks: the replica of rank 0 keeps
them in the file itself, every other one in a part beside it, on its own host, until the end.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from maporl_cli.agents.answers import is_correct
from maporl_cli.core.atomic import append_line, atomic_write
from maporl_cli.core.errors import RunFailed
from maporl_cli.core.types import Episode
from maporl_cli.evaluation.official import official_answer
from maporl_cli.rewards.dangers import flags_of, known_of
from maporl_cli.rewards.escalation import escalates
from maporl_cli.rewards.medical import GUARDED
from maporl_cli.rewards.safety import report_of, veto
from maporl_cli.rewards.stances import stance
from maporl_cli.rewards.stated import confidence, disclaimers

Row = dict[str, Any]
"""A record, in JSON's types."""
Key = tuple[str, int]
"""The question's id, and the seed's index."""


def record_of(episode: Episode) -> Row:
    """What is kept of a finished episode: its answer beside the gold one, its cost, what was said.

    `valid`: an answer could be read. `tokens`: prompt and sampled ones, of all turns, of which `sampled` were
    sampled. `confidence`: as the last turn states it, in [0, 1]. `official`: as the published evaluation
    would read it. `stance`: what a turn stands for. `safety`, where it is rewarded: what the last turn says
    of an emergency and of harm.
    """
    question, score, report = episode.question, episode.score, report_of(episode)
    row: Row = {
        "id": question.id,
        "seed": episode.step,
        "gold": question.answer,
        "answer": episode.answer,
        "valid": episode.answer is not None,
        "correct": is_correct(question, episode.answer),
        "options": dict(question.options),
        "labels": dict(question.labels),
        "confidence": confidence(report),
        "tokens": sum(turn.tokens for turn in episode.turns),
        "sampled": sum(turn.sampled for turn in episode.turns),
        "turns": [
            {
                "agent": turn.agent,
                "round": turn.round,
                "stance": stance(question, turn),
                "text": turn.text,
            }
            for turn in episode.turns
        ],
    }
    if question.options:
        row["official"] = official_answer(question, report)
    if score is not None:
        row["score"] = {
            "total": score.total,
            "medical": score.task,
            "components": dict(score.components),
            "reasons": dict(score.reasons),
        }
        if GUARDED in score.components:
            row["safety"] = _safety(episode, report)
    return row


def record_without_report(episode: Episode) -> Row:
    """As `record_of`, of an answer that was elected or weighed: no report states or shows anything."""
    row = record_of(episode)
    row.pop("official", None)
    return row | {"confidence": None}


def _safety(episode: Episode, report: str) -> Row:
    """The question's emergencies, those that the report passes over, harm in it, disclaimers."""
    flags = flags_of(known_of(episode.question))
    chosen = episode.question.options.get(episode.answer or "", "")
    return {
        "red_flags": len(flags),
        "missed": sum(not escalates(report, chosen, flag) for flag in flags),
        "contraindicated": veto(episode) is not None,
        "disclaimers": disclaimers(report),
    }


def key_of(row: Row) -> Key:
    """Which of an evaluation's answers it is."""
    return row["id"], row["seed"]


def said(row: Row, answer: str) -> str:
    """What an answer says, whatever letter stands for it."""
    return row["options"].get(answer, answer)


def by_question(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The records by the question's id, those of one question in the order of seeds."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["id"], []).append(row)
    return found


class Records:
    """The records of one system in one evaluation.

    Args:
        path: the file.
        part: which replica's this is; that of replica 0 is the file itself.
    """

    def __init__(self, path: Path, part: int) -> None:
        self.path = path
        self._own = path if part == 0 else path.with_name(f"{path.name}.part_{part}")

    def add(self, rows: Sequence[Row]) -> None:
        """Keep the records of a batch.

        Raises:
            RunFailed: the disk is full.
        """
        append_line(self._own, "\n".join(json.dumps(row) for row in rows))

    def forget(self) -> None:
        """Remove the file and its parts, as far as they are on this host."""
        for path in self._files():
            path.unlink(missing_ok=True)

    def read(self, warn: Callable[[str], None]) -> list[Row]:
        """What is kept on this host; of the last line of a file, if it was cut short, the user is warned.

        Raises:
            RunFailed: another line is no record.
        """
        return [row for path in self._files() for row in _rows(path, warn)]

    def close(self, rows: Sequence[Row]) -> None:
        """All records, in their final order; the parts are not needed any more."""
        atomic_write(self.path, "".join(json.dumps(row) + "\n" for row in rows))

    def drop_parts(self) -> None:
        """Remove the parts on this host."""
        for path in self._files():
            if path != self.path:
                path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        parts = sorted(self.path.parent.glob(f"{self.path.name}.part_*"))
        return [*([self.path] if self.path.exists() else []), *parts]


def _rows(path: Path, warn: Callable[[str], None]) -> Iterator[Row]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                warn(f"{path}: line {number}, the last one, was cut short; its question is asked again")
                return
            try:
                row: Any = json.loads(line, parse_constant=_refuse_constant)
            except ValueError as error:
                raise _damaged(path, number, f"it is no JSON ({error})") from error
            if not _is_record(row):
                raise _damaged(path, number, "it is no record of an answer")
            yield cast(Row, row)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _is_record(row: object) -> bool:
    """Whether it has what is counted, in the right types."""
    if not isinstance(row, dict):
        return False
    told = cast(Row, row)
    return all(key in told and isinstance(told[key], kinds) for key, kinds in _KINDS.items())


_KINDS: dict[str, type | tuple[type, ...]] = {
    "id": str,
    "seed": int,
    "gold": str,
    "answer": (str, type(None)),
    "valid": bool,
    "correct": bool,
    "options": dict,
    "labels": dict,
    "confidence": (float, int, type(None)),
    "tokens": int,
    "sampled": int,
    "turns": list,
}


def _damaged(path: Path, line: int, why: str) -> RunFailed:
    return RunFailed(
        "A record of the evaluation is damaged.",
        where=f"{path}, line {line}",
        why=why,
        fix=f"remove this line, and its question is asked again; or remove {path} and ask all again",
    )
