"""How a prompt is laid out: the agent's view of the question, its teammates' turns, its instruction.

What episodes of one question share comes first, so that a shared prefix is as long as it can be.
"""

from __future__ import annotations

from collections.abc import Sequence

from maporl_cli.agents.roles import Role, RoleBook, Section
from maporl_cli.core.types import Question, Snippet, Turn


def render_prompt(
    book: RoleBook, role: Role, question: Question, snippets: Sequence[Snippet], turns: Sequence[Turn]
) -> str:
    """The text of one turn's prompt, before the policy's own chat template.

    Sections the question does not have (no context, no evidence) are left out, not shown empty.
    """
    parts = [
        book.sections[section].format(text)
        for section in role.sees
        if (text := _section_text(book, section, question, snippets))
    ]
    parts += [book.turn.format(agent=turn.agent, text=turn.text) for turn in turns]
    instruction = role.instruction if question.options else role.open_instruction or role.instruction
    if instruction:
        parts.append(instruction)
    return book.separator.join(parts)


def _section_text(book: RoleBook, section: Section, question: Question, snippets: Sequence[Snippet]) -> str:
    match section:
        case "question":
            return question.text
        case "context":
            return question.context
        case "evidence":
            return book.separator.join(
                book.snippet.format(id=found.id, text=found.text) for found in snippets
            )
        case "options":
            return book.separator.join(
                book.option.format(letter=letter, text=text) for letter, text in question.options.items()
            )
