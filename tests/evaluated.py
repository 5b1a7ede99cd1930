"""What `maporl eval` found, made up: every part there can be, each figure told from every other."""

from __future__ import annotations

from typing import Any

KINDS = (
    "Cardiovascular",
    "Digestive",
    "Endocrine",
    "Integumentary",
    "Lymphatic and immune",
    "Muscular",
    "Nervous",
    "MUSCULOSKELETAL AND CONNECTIVE TISSUE DISORDERS, AND ALL THAT IS NOWHERE ELSE",
    "W" * 60,
    "Respiratory",
    "Skeletal",
    "Urinary",
)


def figures(accuracy: float, tokens: float) -> dict[str, Any]:
    """One system's, of 400 questions with ten options."""
    return {
        "accuracy": accuracy,
        "ci95": [accuracy - 0.049, accuracy + 0.049],
        "chance": 0.1,
        "above_chance": (accuracy - 0.1) / 0.9,
        "n": 400,
        "correct": round(400 * accuracy),
        "invalid": 12,
        "invalid_share": 0.03,
        "letters": {"": 12, **{letter: 61 - 5 * place for place, letter in enumerate("ABCDEFGHIJ")}},
        "tokens_per_question": tokens,
        "sampled_per_question": tokens / 4,
        "turns_per_question": 12.4,
        "by_seed": [accuracy - 0.01, accuracy + 0.01],
        "official": {"accuracy": accuracy + 0.02, "invalid_share": 0.004, "agrees": 0.955},
        "macro_f1": accuracy - 0.031,
        "breakdown": {
            "medical_task": {"Diagnosis": kind(160, 0.475), "Treatment": kind(240, 0.375)},
            "body_system": {name: kind(11 + place, 0.21 + place / 20) for place, name in enumerate(KINDS)},
            "topic": {f"Topic {place:02}": kind(9, place / 40) for place in range(30)},
        },
        "calibration": {
            "stated": 0.912,
            "brier": 0.1834,
            "ece": 0.0712,
            "bins": [
                {
                    "low": place / 10,
                    "high": (place + 1) / 10,
                    "n": 5 + 9 * place,
                    "confidence": said,
                    "accuracy": was,
                }
                for place, said, was in ((3, 0.35, 0.31), (6, 0.66, 0.5), (9, 0.97, 0.9))
            ],
        },
        "reward": {
            "total": 0.5231,
            "medical": 0.6142,
            "components": {
                "accuracy": accuracy,
                "medical_relevance": 0.702,
                "safety": 0.931,
                "collaboration": 0.0,
            },
            "correlation_with_correct": 0.734,
        },
        "safety": {"red_flags": 57, "red_flags_missed": 9, "contraindicated": 3, "one_disclaimer": 0.875},
        "records": "/somewhere/eval/medxpert.records.jsonl",
    }


def kind(n: int, accuracy: float) -> dict[str, Any]:
    """The figures of one kind of questions."""
    return {"n": n, "accuracy": accuracy, "ci95": [accuracy * 0.8, accuracy * 0.8 + 0.2]}


def difference(by: float, p: float) -> dict[str, Any]:
    """The team against something else."""
    return {
        "n": 400,
        "difference": by,
        "ci95": [by - 0.045, by + 0.041],
        "better": 90,
        "worse": 31,
        "p": p / 3,
        "p_holm": p,
    }


def turn(agent: str, round: int, stances: int, gained: int, lost: int) -> dict[str, Any]:
    """What one agent's turns in one round did to the answer."""
    return {
        "round": round,
        "agent": agent,
        "turns": 400,
        "stances": stances,
        "wrong_to_right": gained,
        "right_to_wrong": lost,
    }


def evaluation(**changed: Any) -> dict[str, Any]:
    """All of `eval/NAME.json`."""
    settings = {"questions": "0f", "checkpoint": "step_000240", "sampled": True, "seeds": 2, "config": {}}
    return {
        "settings": settings,
        **figures(0.452, 2210.4),
        "baselines": {
            "untrained": figures(0.31, 2300.2),
            "single": figures(0.4, 641.3),
            "majority": figures(0.425, 2240.1),
        },
        "comparisons": {
            "untrained": difference(0.142, 0.00004),
            "single": difference(0.052, 0.0312),
            "majority": difference(0.027, 0.41),
        },
        "conversation": [
            turn("planner", 0, 0, 0, 0),
            turn("analyst", 0, 371, 0, 0),
            turn("reporter", 0, 388, 43, 17),
            turn("planner", 1, 372, 5, 11),
        ],
        "consistency": 0.8125,
        "contributions": {"planner": difference(0.187, 0.0002), "analyst": difference(-0.034, 0.21)},
        "alarm": "training raised the reward and, as far as can be told, not the accuracy",
        "caution": "Nobody can tell whether the run trained on these.",
        **changed,
    }
