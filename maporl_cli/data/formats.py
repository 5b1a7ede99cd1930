"""Every published shape of a medical question, read into a `Question`, and our own shape written.

A format is a function from a row to a `Question` and a test that recognises its rows; the first
that recognises a row reads it. A row that is not a question raises `RowError` with the reason;
nothing is guessed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from maporl_cli.core.types import Question, Snippet
from maporl_cli.data.choices import MARKER, cut_choices, gold_letter, read_options, split_choices
from maporl_cli.data.fields import Row, RowError, identifier, items, json_kind, mapping, optional_text, text

_PUBMEDQA_OPTIONS = {"A": "yes", "B": "no", "C": "maybe"}
_MEDMCQA_OPTIONS = {"A": "opa", "B": "opb", "C": "opc", "D": "opd"}
_MEDMCQA_LABELS = {"subject_name": "subject", "topic_name": "topic"}

NO_LABEL = "the label is missing"

# Fields that are read as something other than a label for breakdowns.
RESERVED_FIELDS = frozenset(
    {
        *("id", "question", "options", "choices", "label", "answer", "answer_idx"),
        *("context", "evidence", "rationale", "exp", "explanation"),
        *("opa", "opb", "opc", "opd", "cop"),
        *("QUESTION", "CONTEXTS", "LABELS", "MESHES", "LONG_ANSWER", "final_decision"),
        *("pubid", "long_answer", "reasoning_required_pred", "reasoning_free_pred"),
    }
)


@dataclass(frozen=True, slots=True)
class Format:
    """A published shape: its name in reports, how it is recognised, how it is read."""

    name: str
    recognises: Callable[[Row], bool]
    read: Callable[[Row], Question]


def read_row(row: object, key: str = "", *, unlabelled: bool = False) -> tuple[Question, str]:
    """The question in a JSON value and the name of the format it was in.

    Args:
        row: what the line or array element holds.
        key: the row's key in a file that is one object (PubMedQA's PMID); its id then.
        unlabelled: take a row without a label as a question without a gold answer.

    Raises:
        RowError: why it is not a question.
    """
    if not isinstance(row, dict):
        raise RowError(f"not an object but {json_kind(row)}")
    fields = cast(Row, row)
    if key:
        fields = {**fields, "id": key}
    for form in FORMATS:
        if form.recognises(fields):
            question = form.read(fields)
            if not (question.has_gold or unlabelled):
                raise RowError(NO_LABEL)
            return question, form.name
    text(fields.get("question"), "'question'")
    raise RowError(
        f"no options and no answer: no 'options', no {MARKER!r} in the question, no free-text 'answer'"
    )


def to_row(question: Question) -> dict[str, object]:
    """`question` in the project's own shape: MedXpertQA's, with `context`, `evidence` and `rationale`.

    `read_row(to_row(q))` is `q` for every question that `read_row` returned.

    Raises:
        ValueError: a label has the name of a field that means something else.
    """
    clash = sorted(RESERVED_FIELDS & set(question.labels))
    if clash:
        raise ValueError(f"the label {clash[0]!r} has the name of a field of the question itself")
    row: dict[str, object] = {"id": question.id, "question": question.text}
    if question.options:
        row["options"] = [{"letter": letter, "content": text} for letter, text in question.options.items()]
        row["label"] = [question.answer] if question.has_gold else []
    else:
        row["answer"] = question.answer or None
    if question.context:
        row["context"] = question.context
    if question.evidence:
        row["evidence"] = [
            {"id": snippet.id, "text": snippet.text} | ({"level": snippet.level} if snippet.level else {})
            for snippet in question.evidence
        ]
    if question.rationale:
        row["rationale"] = question.rationale
    return row | dict(question.labels)


def _with_options(row: Row) -> Question:
    """`options` is a field: MedXpertQA's two shapes, MedQA's, medagents-benchmark's, ours."""
    stem = text(row.get("question"), "'question'")
    options = read_options(row["options"])
    return _question(row, cut_choices(stem, options), options, gold_letter(row, options))


def _mmlu(row: Row) -> Question:
    """MMLU as on the hub: `choices` is a list, and `answer` counts from 0."""
    options = read_options(row["choices"])
    return _question(row, text(row.get("question"), "'question'"), options, gold_letter(row, options))


def _choices_in_text(row: Row) -> Question:
    """MedQA and MMLU in MedXpertQA's evaluation format: the options are part of the question."""
    stem, options = split_choices(text(row.get("question"), "'question'"))
    return _question(row, stem, options, gold_letter(row, options))


def _medmcqa(row: Row) -> Question:
    """MedMCQA as on the hub: `opa` to `opd`, and `cop` counted from 0 (-1 in its test split)."""
    options = {
        letter: text(row.get(field), f"the text of option {letter} ({field!r})")
        for letter, field in _MEDMCQA_OPTIONS.items()
    }
    label = None if row.get("cop") == -1 else row.get("cop")
    gold = gold_letter({"label": label}, options)
    return _question(row, text(row.get("question"), "'question'"), options, gold)


def _pubmedqa(row: Row) -> Question:
    """PubMedQA's own files: an abstract's sections are the evidence, its conclusion the rationale."""
    return _yes_no_maybe(row, "QUESTION", items(row.get("CONTEXTS"), "'CONTEXTS'"), row.get("LONG_ANSWER"))


def _pubmedqa_hub(row: Row) -> Question:
    """PubMedQA as on the hub, where the sections are under `context`."""
    abstract = mapping(row.get("context"), "'context'")
    sections = items(abstract.get("contexts"), "'contexts'")
    return _yes_no_maybe({**row, "context": None}, "question", sections, row.get("long_answer"))


def _yes_no_maybe(row: Row, stem_field: str, sections: Iterable[object], conclusion: object) -> Question:
    decision = optional_text(row.get("final_decision"), "the label 'final_decision'")
    gold = [letter for letter, option in _PUBMEDQA_OPTIONS.items() if option == decision.lower()]
    if decision and not gold:
        raise RowError("the label 'final_decision' is not yes, no or maybe")
    evidence = [{"id": f"E{number}", "text": section} for number, section in enumerate(sections, start=1)]
    fields = {
        **row,
        "id": row.get("id", row.get("pubid")),
        "evidence": evidence,
        "rationale": conclusion,
    }
    stem = text(row.get(stem_field), repr(stem_field))
    return _question(fields, stem, _PUBMEDQA_OPTIONS, gold[0] if gold else "")


def _free_text(row: Row) -> Question:
    """The guide's rows: a question, what is known of the patient, and the answer in words, or null."""
    stem = text(row.get("question"), "'question'")
    return _question(row, stem, {}, optional_text(row.get("answer"), "'answer'"))


def _question(row: Row, stem: str, options: dict[str, str], answer: str) -> Question:
    """What every format shares: id, context, evidence, rationale and labels."""
    context = optional_text(row.get("context"), "'context'")
    explanations = (row.get(name) for name in ("rationale", "exp", "explanation"))
    rationale = next((item for item in explanations if item is not None), None)
    return Question(
        id=identifier(row.get("id"), "'id'") or content_id(stem, options, context),
        text=stem,
        options=dict(options),
        answer=answer,
        context=context,
        evidence=_snippets(row.get("evidence")),
        rationale=optional_text(rationale, "the explanation"),
        labels=_labels(row),
    )


def content_id(stem: str, options: Mapping[str, str], context: str) -> str:
    """An id for a row that has none: the same question has the same id in every file."""
    content = json.dumps([stem, dict(options), context], ensure_ascii=False)
    return "q-" + hashlib.sha256(content.encode()).hexdigest()[:16]


def _snippets(value: object) -> tuple[Snippet, ...]:
    snippets: dict[str, Snippet] = {}
    for number, item in enumerate(items(value, "'evidence'"), start=1):
        fields = mapping(item, f"evidence {number}")
        name = identifier(fields.get("id"), f"the id of evidence {number}")
        if not name:
            raise RowError(f"evidence {number} has no id")
        if name in snippets:
            raise RowError(f"two pieces of evidence have the id of evidence {number}")
        told = text(fields.get("text"), f"the text of evidence {number}")
        level = fields.get("level")
        level = "" if level is None else text(level, f"the level of evidence {number}")
        snippets[name] = Snippet(name, told, level)
    return tuple(snippets.values())


def _labels(row: Row) -> dict[str, str]:
    """Every other text field, for breakdowns; MedMCQA's subject and topic are named as elsewhere."""
    labels: dict[str, str] = {}
    for field, value in row.items():
        if field not in RESERVED_FIELDS and isinstance(value, str) and value.strip():
            text(field, "the name of a field")
            labels[_MEDMCQA_LABELS.get(field, field)] = text(value, f"the field {field!r}")
    return labels


def _options_are(kind: type, inner: type = object) -> Callable[[Row], bool]:
    def recognises(row: Row) -> bool:
        value = row.get("options")
        first = next(iter(cast(Iterable[object], value)), None) if isinstance(value, kind) else None
        return isinstance(value, kind) and isinstance(first, inner)

    return recognises


def _marked(row: Row) -> bool:
    question = row.get("question")
    return isinstance(question, str) and MARKER in question


FORMATS = (
    Format("pubmedqa", lambda row: "QUESTION" in row, _pubmedqa),
    Format(
        "pubmedqa (hub)",
        lambda row: "final_decision" in row or ("pubid" in row and "options" not in row),
        _pubmedqa_hub,
    ),
    Format("medmcqa", lambda row: "opa" in row, _medmcqa),
    Format(
        "maporl",
        lambda row: _options_are(list, dict)(row) and ("context" in row or "evidence" in row),
        _with_options,
    ),
    Format("medxpertqa", _options_are(list, dict), _with_options),
    Format("list of options", _options_are(list, str), _with_options),
    Format("medqa", lambda row: _options_are(dict)(row) and "answer_idx" in row, _with_options),
    Format("medxpertqa (hub)", _options_are(dict), _with_options),
    Format("unknown options", lambda row: "options" in row, _with_options),
    Format("mmlu (hub)", lambda row: "choices" in row, _mmlu),
    Format("choices in the question", _marked, _choices_in_text),
    Format("free text", lambda row: "answer" in row, _free_text),
)
