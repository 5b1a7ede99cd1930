"""Files that are public test sets, as far as a file shows it.

What is recognised: a file name with the word `test`; MedXpertQA's ids (`Text-20`, `MM-7`; it has
no training split); the ids of MedQA's test split in MedXpertQA's format (`test-00000`); rows
whose `subject` is one of MMLU's medical subjects (which have no training split). What is not:
test rows under a new name and with new ids, and PubMedQA's test half, whose ids are a list.
"""

from __future__ import annotations

import re
from pathlib import Path

from maporl_cli.core.types import Question

_NAMED_TEST = re.compile(r"(?<![a-z])test(?![a-z])", re.IGNORECASE)
_IDS = {
    "MedXpertQA, which has no training split": re.compile(r"(Text|MM)-\d+"),
    "MedQA's test split": re.compile(r"test-\d{5}"),
}
_MMLU = "MMLU, whose medical subjects have no training split"
_MMLU_SUBJECTS = frozenset(
    {
        "anatomy",
        "clinical_knowledge",
        "college_biology",
        "college_medicine",
        "high_school_biology",
        "human_aging",
        "medical_genetics",
        "nutrition",
        "professional_medicine",
        "virology",
    }
)


def test_set_of_name(path: Path) -> str | None:
    """Why the name of a file says that it is a test set, or None."""
    return "its name has the word 'test'" if _NAMED_TEST.search(path.stem) else None


def test_set_of_row(question: Question) -> str | None:
    """The public test set that a row seems to be from, or None."""
    for name, ids in _IDS.items():
        if ids.fullmatch(question.id):
            return name
    return _MMLU if question.labels.get("subject") in _MMLU_SUBJECTS else None
