"""How a question is shown to a model that is not talked to, and what is weighed below it.

Each format is that of the task of its name in EleutherAI's lm-evaluation-harness, whose figures are published
of many models (version 0.4.13, `lm_eval/tasks/{mmlu/default,medqa,medmcqa,pubmedqa}`, without examples;
`tests/peers` compares the answers), to the letter but for blanks around a stem or an option, which are cut
when a file is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from maporl_cli.core.types import Question


@dataclass(frozen=True, slots=True)
class PlainFormat:
    """A published format.

    Attributes:
        prompt: what is read.
        choices: what may stand below it, by the letter that it means.
    """

    prompt: Callable[[Question], str]
    choices: Callable[[Question], Mapping[str, str]]


def letters_of(question: Question) -> Mapping[str, str]:
    """The letters themselves."""
    return {letter: letter for letter in question.options}


def mmlu_prompt(question: Question) -> str:
    """MMLU's (Hendrycks et al. 2021, arXiv 2009.03300): where no subject is known, "about …" is left out."""
    subject = question.labels.get("subject", "").replace("_", " ")
    about = f" about {subject}" if subject else ""
    head = f"The following are multiple choice questions (with answers){about}.\n"
    return "\n".join([head, _stem(question), *_options(question), "Answer:"])


def medqa_prompt(question: Question) -> str:
    """Of the task `medqa_4options`."""
    return "\n".join([f"Question: {_stem(question)}", *_options(question), "Answer:"])


def medmcqa_prompt(question: Question) -> str:
    """Of the task `medmcqa`."""
    return "\n".join([f"Question: {_stem(question)}", "Choices:", *_options(question), "Answer:"])


def pubmedqa_prompt(question: Question) -> str:
    """Of the task `pubmedqa`: the abstract without its conclusion, and no options, since they are words."""
    abstract = "\n".join(snippet.text for snippet in question.evidence)
    return "\n".join([f"Abstract: {abstract}", f"Question: {_stem(question)}", "Answer:"])


MMLU = PlainFormat(mmlu_prompt, letters_of)
_OF_BENCHMARK: Mapping[str, PlainFormat] = {
    "medqa": PlainFormat(medqa_prompt, letters_of),
    "medmcqa": PlainFormat(medmcqa_prompt, letters_of),
    "pubmedqa": PlainFormat(pubmedqa_prompt, lambda question: question.options),
}


def plain_format(benchmark: str | None) -> PlainFormat:
    """The format that a benchmark's figures are published in; MMLU's for all others, and for files."""
    return _OF_BENCHMARK.get(benchmark or "", MMLU)


def _stem(question: Question) -> str:
    """The stem below its context, for which no format has a place."""
    return "\n".join([*([question.context] if question.context else []), question.text.strip()])


def _options(question: Question) -> list[str]:
    return [f"{letter}. {text}" for letter, text in question.options.items()]
