"""What the records of one system say of it: how right it was, where, how sure, how safely and at what cost.

Everything is computed from the records alone, so that an evaluation that was cut short, or ran on other
ranks, comes to the same figures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from maporl_cli.evaluation.records import Row, by_question, said
from maporl_cli.evaluation.statistics import (
    above_chance,
    bootstrap,
    brier,
    correlation,
    expected_calibration_error,
    macro_f1,
    reliability,
    wilson,
)

_VERDICTS = {"yes", "no", "maybe"}
_FEW = 2
"""Kinds that a label must have to be broken down by; more than `_MANY` are names, not kinds."""
_MANY = 60


def findings(rows: Sequence[Row]) -> dict[str, Any]:
    """The figures of one system, in JSON's types; parts that its records say nothing of are left out.

    Args:
        rows: a record for each question and seed.
    """
    questions = by_question(rows)
    seeds = sorted({row["seed"] for row in rows})
    correct = sum(row["correct"] for row in rows)
    shares = [fmean(row["correct"] for row in own) for own in questions.values()]
    accuracy = fmean(shares)
    chance = fmean(1 / len(row["options"]) if row["options"] else 0.0 for row in rows)
    found: dict[str, Any] = {
        "accuracy": accuracy,
        "ci95": list(_interval(rows, shares)),
        "chance": chance,
        "above_chance": above_chance(accuracy, chance),
        "n": len(questions),
        "answers": len(rows),
        "correct": correct,
        "invalid": sum(not row["valid"] for row in rows),
        "invalid_share": fmean(not row["valid"] for row in rows),
        "letters": _letters(rows),
        "tokens_per_question": fmean(row["tokens"] for row in rows),
        "sampled_per_question": fmean(row["sampled"] for row in rows),
        "turns_per_question": fmean(len(row["turns"]) for row in rows),
    }
    if len(seeds) > 1:
        found["by_seed"] = [fmean(row["correct"] for row in rows if row["seed"] == seed) for seed in seeds]
    if any("official" in row for row in rows):
        found["official"] = _official(rows)
    gold = [_word(row, row["gold"]) for row in rows]
    if set(gold) <= _VERDICTS:
        found["macro_f1"] = macro_f1(
            gold, [None if row["answer"] is None else _word(row, row["answer"]) for row in rows]
        )
    if breakdown := _breakdown(rows):
        found["breakdown"] = breakdown
    if calibration := _calibration(rows):
        found["calibration"] = calibration
    if reward := _reward(rows):
        found["reward"] = reward
    if safety := _safety(rows):
        found["safety"] = safety
    return found


def _word(row: Row, answer: str) -> str:
    return said(row, answer).casefold()


def _letters(rows: Sequence[Row]) -> dict[str, int]:
    """How often each letter was answered, and None as "": a team that always says the same shows here."""
    counts = Counter("" if row["answer"] is None else row["answer"] for row in rows if row["options"])
    return {letter: counts[letter] for letter in sorted(counts)}


def _official(rows: Sequence[Row]) -> dict[str, float]:
    """What the published reader makes of the same reports (`evaluation.official`)."""
    read = [row for row in rows if "official" in row]
    return {
        "accuracy": fmean(row["official"] == row["gold"] for row in read),
        "invalid_share": fmean(row["official"] is None for row in read),
        "agrees": fmean(row["official"] == row["answer"] for row in read),
    }


def _breakdown(rows: Sequence[Row]) -> dict[str, dict[str, dict[str, Any]]]:
    """By label and kind, accuracy with its interval; without labels that all share, or names."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for label in dict.fromkeys(label for row in rows for label in row["labels"]):
        kinds: dict[str, list[Row]] = {}
        for row in rows:
            if label in row["labels"]:
                kinds.setdefault(row["labels"][label], []).append(row)
        if _FEW <= len(kinds) <= _MANY:
            found[label] = {kind: _share(own) for kind, own in sorted(kinds.items())}
    return found


def _share(rows: Sequence[Row]) -> dict[str, Any]:
    shares = [fmean(row["correct"] for row in own) for own in by_question(rows).values()]
    return {"n": len(shares), "accuracy": fmean(shares), "ci95": list(_interval(rows, shares))}


def _interval(rows: Sequence[Row], shares: Sequence[float]) -> tuple[float, float]:
    """Wilson's of one answer a question; several to one are not independent, so questions are resampled."""
    if len(rows) == len(shares):
        return wilson(sum(row["correct"] for row in rows), len(rows))
    return bootstrap(shares, within=(0, 1), seed=0)


def _calibration(rows: Sequence[Row]) -> dict[str, Any]:
    """How far the stated confidence can be relied on, of the answers that state one."""
    told = [row for row in rows if row["valid"] and row["confidence"] is not None]
    if not told:
        return {}
    confidences, correct = [row["confidence"] for row in told], [row["correct"] for row in told]
    bins = reliability(confidences, correct)
    return {
        "stated": len(told) / len(rows),
        "brier": brier(confidences, correct),
        "ece": expected_calibration_error(bins),
        "bins": [asdict(one) for one in bins],
    }


def _reward(rows: Sequence[Row]) -> dict[str, Any]:
    """The reward's means, and how far its total goes with being right."""
    scored = [row for row in rows if "score" in row]
    if not scored:
        return {}
    scores = [row["score"] for row in scored]
    names = dict.fromkeys(name for score in scores for name in score["components"])
    totals = [score["total"] for score in scores]
    return {
        "total": fmean(totals),
        "medical": fmean(score["medical"] for score in scores),
        "components": {
            name: fmean(score["components"][name] for score in scores if name in score["components"])
            for name in names
        },
        "correlation_with_correct": correlation(totals, [float(row["correct"]) for row in scored]),
    }


def _safety(rows: Sequence[Row]) -> dict[str, Any]:
    """Emergencies that were passed over, contraindicated advice, and disclaimers."""
    told = [row["safety"] for row in rows if "safety" in row]
    if not told:
        return {}
    flags = sum(one["red_flags"] for one in told)
    return {
        "red_flags": flags,
        "red_flags_missed": sum(one["missed"] for one in told),
        "contraindicated": sum(one["contraindicated"] for one in told),
        "one_disclaimer": fmean(one["disclaimers"] == 1 for one in told),
    }
