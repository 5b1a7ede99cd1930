"""`maporl ask`: one question of your own, answered by a team turn by turn."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maporl_cli.cli.options import ConfigFile, DisplayOption, Json, Preset, Sets, resolve
from maporl_cli.cli.output import emit, result, shown
from maporl_cli.core.errors import UsageError

if TYPE_CHECKING:
    from maporl_cli.core.types import Episode, Question

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def ask(
    text: Annotated[str, typer.Argument(metavar="QUESTION", help="The question.", show_default=False)],
    options: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="TEXT", help="A possible answer. Repeatable: A, B, C, …"),
    ] = None,
    context: Annotated[
        str,
        typer.Option("--context", metavar="TEXT", help="The patient.", show_default=False),
    ] = "",
    evidence: Annotated[
        list[str] | None,
        typer.Option("--evidence", metavar="TEXT", help="A sentence the researcher may quote. Repeatable."),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option("--run", metavar="RUN", help="Whose team answers; without it, an untrained one."),
    ] = None,
    preset: Preset = None,
    config: ConfigFile = None,
    sets: Sets = None,
    display: DisplayOption = None,
    json: Json = False,
) -> None:
    """Ask a team one question, and see what each agent says."""
    if run is not None and not (preset is config is sets is None):
        raise UsageError(
            "--run brings its own settings.",
            fix="give --run alone, or leave it out and describe the team with --preset, --config and --set",
        )
    asked = question(text, options or (), context, evidence or ())
    display_now = shown(display, os.environ, terminal=sys.stderr.isatty())
    if run is not None:
        from maporl_cli.core.run_dir import RunDir

        config = RunDir.existing(run).config
    loaded = resolve(preset, config, sets)

    from maporl_cli.worker import ask_team

    (episode,) = ask_team(loaded.config, run=run, questions=[asked], display=display_now)
    if json:
        emit(told(episode))
        return
    result(conversation(episode))


def question(text: str, options: Sequence[str], context: str, evidence: Sequence[str]) -> Question:
    """A question nobody knows the gold answer of; its options are lettered in the order given.

    Raises:
        UsageError: there is no text, one option alone, or more options than letters.
    """
    from maporl_cli.core.types import Question, Snippet

    if not text.strip():
        raise UsageError("There is no question.", fix='maporl ask "Which drug is given first?"')
    if len(options) == 1 or len(options) > len(_LETTERS):
        raise UsageError(
            f"A choice is between 2 and {len(_LETTERS)} options; this one has {len(options)}.",
            fix="give --option once for each possible answer, or not at all for a free answer",
        )
    return Question(
        id="ask",
        text=text,
        options=dict(zip(_LETTERS, options, strict=False)),
        answer="",
        context=context,
        evidence=tuple(Snippet(f"e{number}", line) for number, line in enumerate(evidence, start=1)),
    )


def told(episode: Episode) -> dict[str, Any]:
    """An answered question as JSON."""
    from maporl_cli.serving.answers import answered

    turns = [{"agent": turn.agent, "round": turn.round, "text": turn.text} for turn in episode.turns]
    return answered(episode) | {"turns": turns}


def conversation(episode: Episode) -> str:
    """An answered question as a conversation; the answer, its risk and a disclaimer last."""
    found = told(episode)
    rounds = max((turn.round for turn in episode.turns), default=0)
    texts = [*(turn.text for turn in episode.turns[:-1]), found["report"]]
    lines = [
        f"{turn.agent}{f' (round {turn.round + 1})' if rounds else ''}: {text}"
        for turn, text in zip(episode.turns, texts, strict=True)
    ]
    return "\n".join([harmless_lines("\n".join(lines)), closing(found, episode.question.options)])


def closing(found: Mapping[str, Any], options: Mapping[str, str]) -> str:
    """What an answered question comes to: its answer, and its risk."""
    answer = "none that can be read" if found["answer"] is None else found["answer"]
    meaning = options.get(answer)
    return harmless_lines(
        f"answer: {answer}{f', {meaning}' if meaning else ''}\n"
        + "; ".join([f"risk: {found['risk']['level']}", *found["risk"]["reasons"]])
    )


def harmless_lines(text: str) -> str:
    """What a model wrote: it shall be read, and do nothing else to a terminal."""
    from maporl_cli.core.harmless import harmless

    return "\n".join(harmless(line) for line in text.split("\n"))
