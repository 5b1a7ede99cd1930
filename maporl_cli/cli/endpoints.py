"""`maporl endpoints`: the endpoints on SageMaker: listed, tried and deleted."""

from __future__ import annotations

import json as jsonlib
import os
from collections.abc import Mapping
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maporl_cli.cli.confirm import confirm
from maporl_cli.cli.options import Json, Region
from maporl_cli.cli.output import emit, result, say
from maporl_cli.core.errors import DataError, Interrupted, MaporlError, RunFailed
from maporl_cli.core.harmless import harmless

if TYPE_CHECKING:
    from maporl_cli.backends.sagemaker.endpoints import Endpoint
    from maporl_cli.core.types import Question
    from maporl_cli.serving.answers import Answer
    from maporl_cli.serving.requests import Asked

app = typer.Typer(no_args_is_help=True, help="List, try and delete endpoints on SageMaker.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The endpoint's name.")]

_SAMPLE = {
    "id": "sample",
    "question": "A man has anaphylaxis. Which treatment comes first?",
    "options": {
        "A": "intramuscular adrenaline",
        "B": "oral cetirizine",
        "C": "inhaled salbutamol",
        "D": "intravenous hydrocortisone",
    },
    "context": "A man of 30, stung by a wasp, with stridor.",
    "evidence": [
        {"id": "e1", "text": "Intramuscular adrenaline is the first-line treatment of anaphylaxis."},
    ],
}


@app.command("ls")
def list_endpoints(region: Region = None, json: Json = False) -> None:
    """List the endpoints that maporl made, newest first, and what each cost so far."""
    from maporl_cli.backends.sagemaker.endpoints import our_endpoints

    session = _session(region)
    found, hidden = our_endpoints(session)
    if hidden:
        say(f"left out, as their tags may not be read (sagemaker:ListTags): {', '.join(hidden)}")
    if json:
        emit({"endpoints": [_facts(one) for one in found]})
    elif found:
        rows = [("ENDPOINT", "STATUS", "INSTANCE", "SINCE", "COST", "RUN"), *map(_row, found)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            result("  ".join(cells).rstrip())
    elif not hidden:
        say(f"There is no endpoint of maporl's in {session.region_name}. maporl deploy makes one.")


@app.command("test")
def ask(
    name: Name,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="A question or a list of them as JSON (default: a sample)."),
    ] = None,
    region: Region = None,
    json: Json = False,
) -> None:
    """Ask an endpoint a question, and show what it answers."""
    from maporl_cli.backends.sagemaker.endpoint_ask import ask_endpoint
    from maporl_cli.backends.sagemaker.endpoints import our_endpoint
    from maporl_cli.serving.requests import JSON, read_request

    # Before AWS is asked for anything: what the endpoint would refuse need not be sent.
    request = None if file is None else _content(file)
    asked = None if file is None or request is None else _asked(file, request)
    session = _session(region)
    endpoint = our_endpoint(session, name)
    if request is None or asked is None:
        request = jsonlib.dumps(_sample(endpoint)).encode()
        asked = read_request(request, JSON)
    # All of it is looked at before anything is shown.
    answers = _answers(name, ask_endpoint(session, endpoint, request), asked)
    if json:
        emit({"endpoint": name, "answers": [one.model_dump() for one in answers]})
        return
    for question, answer in zip(asked.questions, answers, strict=True):
        _show(question, answer, named=len(answers) > 1)


@app.command()
def delete(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    region: Region = None,
) -> None:
    """Delete an endpoint, its config and its model, whatever there is of them; files in S3 stay."""
    from maporl_cli.backends.sagemaker.endpoints import delete_parts, our_parts, part

    session = _session(region)
    found = our_parts(session, name)
    kept = part(session, "model", name) if "model" in found else None
    if not yes:
        confirm(
            f"Delete the {' and the '.join(found)} {name}?",
            command=f"maporl endpoints delete {name} --yes",
            otherwise=Interrupted(f"{name} stays, and costs.", fix=f"maporl endpoints delete {name}"),
        )
    left = list(found)
    try:
        for kind, was_there in delete_parts(session, name, found):
            result(f"the {kind} {name} {'is deleted' if was_there else 'was gone already'}")
            left.remove(kind)
    except KeyboardInterrupt:
        raise Interrupted(
            f"The {' and the '.join(left)} {name} may be there still.",
            why="the endpoint costs until it is deleted" if "endpoint" in left else "",
            fix=f"maporl endpoints delete {name} deletes what is left",
        ) from None
    except MaporlError:
        say(f"What is there still of {name}: the {' and the '.join(left)}.")
        raise
    if kept is not None:
        say(f"its files stay: {kept['PrimaryContainer']['ModelDataUrl']}")


def _session(region: str | None) -> Any:
    """A session where `maporl deploy` makes endpoints, as far as no run says otherwise."""
    from maporl_cli.data.aws import aws_session

    return aws_session(region or os.environ.get("MAPORL_SAGEMAKER__REGION"))


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(
            "The question cannot be read.", where=str(file), why=error.strerror or "", fix="correct FILE"
        ) from error


def _asked(file: Path, request: bytes) -> Asked:
    """The questions of a file.

    Raises:
        DataError: it has none, or other things than questions.
    """
    from maporl_cli.serving.requests import JSON, read_request

    try:
        return read_request(request, JSON)
    except DataError as error:
        where = f"{file}, {error.where}" if error.where else str(file)
        raise DataError(error.what, where=where, why=error.why, fix=error.fix) from error


def _sample(endpoint: Endpoint) -> Mapping[str, Any]:
    """A question for any team; for one of tiny policies one of the benchmark, whose words are all they know.

    Raises:
        DataError: their benchmark is not here.
    """
    from maporl_cli.backends.sagemaker.endpoints import WORDS_TAG
    from maporl_cli.data.benchmarks import benchmark, benchmark_names
    from maporl_cli.data.formats import to_row

    words = endpoint.tags.get(WORDS_TAG)
    if words is None:
        return _SAMPLE
    if words not in benchmark_names():
        raise DataError(
            f"No sample fits the team of {endpoint.name}.",
            why=f"it knows only the words of the benchmark {harmless(words)}, which a plug-in brings",
            fix=f"maporl endpoints test {endpoint.name} FILE, with a question of that benchmark",
        )
    row = to_row(next(iter(benchmark(words).evaluation(0))))
    return {key: value for key, value in row.items() if key not in ("label", "rationale")}


def _answers(name: str, body: bytes, asked: Asked) -> list[Answer]:
    """The answers to the questions, in their order.

    Raises:
        RunFailed: what came is something else, or is to something else.
    """
    from maporl_cli.serving.answers import read_answers

    try:
        return read_answers(body, asked)
    except ValueError as error:
        raise RunFailed(
            f"The endpoint {name} answered something else than was asked.",
            why=str(error),
            fix="see whether another model was put behind that name; maporl deploy makes a new one",
        ) from None


def _show(question: Question, answer: Answer, *, named: bool) -> None:
    from maporl_cli.cli.ask import closing, harmless_lines

    sure = "not stated" if answer.confidence is None else f"{answer.confidence:g}, as the report states it"
    if named:
        result(harmless_lines(f"id: {answer.id}"))
    result(harmless_lines(f"report: {answer.report}"))
    result(closing(answer.model_dump(), question.options))
    result(f"confidence: {sure}")
    result(f"evidence: {harmless(', '.join(answer.evidence)) or 'none cited'}")
    result(f"disclaimer: {harmless(answer.disclaimer)}")


def _row(one: Endpoint) -> tuple[str, ...]:
    cost = "unknown" if one.usd is None else f"at most ${one.usd:,.2f} so far"
    return (one.name, one.status, one.instance, _since(one), cost, str(one.run))


def _since(one: Endpoint) -> str:
    return f"{one.created.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _facts(one: Endpoint) -> dict[str, Any]:
    return {
        "endpoint": one.name,
        "status": one.status,
        "instance": one.instance,
        "since": _since(one),
        "usd_per_hour": one.usd_per_hour,
        "usd_at_most": None if one.usd is None else round(one.usd, 4),
        "run": one.run,
    }
