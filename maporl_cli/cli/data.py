"""`maporl data`: make, fetch, check and split files of questions."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maporl_cli.cli.options import Json
from maporl_cli.cli.output import emit, result, say
from maporl_cli.cli.transfer import transfer
from maporl_cli.core.channel import Channel

if TYPE_CHECKING:
    from maporl_cli.data.reading import BadRow
    from maporl_cli.data.validate import FileReport

app = typer.Typer(no_args_is_help=True, help="Make, fetch, check and split files of questions.")

Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="The directory to write to.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")]
MaxBadRows = Annotated[
    int, typer.Option("--max-bad-rows", metavar="N", min=0, help="Leave out at most N bad rows.")
]
Seed = Annotated[int, typer.Option("--seed", metavar="S", min=0, max=2**32 - 1, help="Repeats the result.")]

_BENCHMARK = "clinic"


@app.command()
def sample(
    out: Out,
    seed: Seed = 0,
    train: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Training questions (default: all).")
    ] = None,
    eval: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Evaluation questions (default: all).")
    ] = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Write the built-in benchmark's train.jsonl and eval.jsonl."""
    from maporl_cli.data.benchmarks import Bounded, benchmark
    from maporl_cli.data.writing import refuse_existing, write_questions

    made = benchmark(_BENCHMARK)
    paths = {"train": out / "train.jsonl", "eval": out / "eval.jsonl"}
    refuse_existing(paths.values(), overwrite=overwrite)
    questions = {"train": islice(made.train(seed), train), "eval": islice(made.evaluation(seed), eval)}
    counts = {part: write_questions(paths[part], questions[part]) for part in paths}
    for part, asked in (("train", train), ("eval", eval)):
        if asked is not None and counts[part] < asked:
            say(f"{_BENCHMARK} has {counts[part]} questions for --{part}; {asked} were asked for.")
    bounds = dict(made.bounds(seed)) if isinstance(made, Bounded) else {}
    if json:
        files = {part: {"path": str(paths[part]), "questions": counts[part]} for part in paths}
        emit({"benchmark": _BENCHMARK, "seed": seed, **files, "bounds": bounds})
        return
    for part, path in paths.items():
        result(f"{path}: {counts[part]} questions")
    if bounds:
        _table("Accuracy that can be reached", ((name, f"{x:.3f}") for name, x in bounds.items()))


@app.command()
def fetch(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="medxpert, medqa, medmcqa, pubmedqa or mmlu-medical.")
    ],
    out: Out = Path("data"),
    max_bad_rows: MaxBadRows = 0,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Download a public data set from the Hugging Face hub."""
    from maporl_cli.data.fetch import HUB_SETS, fetch, files_of
    from maporl_cli.data.writing import refuse_existing

    refuse_existing(files_of(name, out), overwrite=overwrite)
    files: list[dict[str, Any]] = []
    for fetched in fetch(name, out, max_bad_rows=max_bad_rows):
        files.append(
            {"path": str(fetched.path), "questions": fetched.questions, "bad": _bad_json(fetched.bad)}
        )
        _say_bad(fetched.path, fetched.bad)
        if not json:
            result(f"{fetched.path}: {fetched.questions} questions")
    if json:
        emit({"name": name, "files": files, "note": HUB_SETS[name].note})
    elif HUB_SETS[name].note:
        say(f"Note: {HUB_SETS[name].note}.")


@app.command()
def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", readable=False, help="Question files.")],
    json: Json = False,
) -> None:
    """Count what files hold, and list every row that is not a question."""
    from maporl_cli.core.errors import DataError
    from maporl_cli.data.validate import validate

    reports = [validate(path) for path in files]
    if json:
        emit({"files": [report.to_json() for report in reports]})
    else:
        for report in reports:
            _show(report)
    unlabelled = sum(report.unlabelled for report in reports)
    if unlabelled:
        say(
            f"{unlabelled} questions have no gold answer: they can be trained on with "
            "--set reward.verifier=learned, and never evaluated on."
        )
    bad = sum(len(report.bad) for report in reports)
    if bad:
        raise DataError(
            "1 row is not a question." if bad == 1 else f"{bad} rows are not questions.",
            where=", ".join(str(report.path) for report in reports if report.bad),
            fix="correct the rows listed; or leave them out: maporl train --set data.max_bad_rows=N, "
            "maporl data split --max-bad-rows N",
        )
    empty = [str(report.path) for report in reports if not report.questions]
    if empty:
        raise DataError(
            "A file holds no question.",
            where=", ".join(empty),
            why="it has no rows",
            fix="write one question a line, as docs/data.md shows, or name another file",
        )


@app.command()
def split(
    file: Annotated[Path, typer.Argument(metavar="FILE", readable=False, help="A file of questions.")],
    eval_fraction: Annotated[
        float | None, typer.Option(metavar="F", help="The share held out for evaluation.")
    ] = None,
    train: Annotated[int | None, typer.Option(metavar="N", min=1, help="Training questions.")] = None,
    eval: Annotated[int | None, typer.Option(metavar="N", min=1, help="Evaluation questions.")] = None,
    seed: Seed = 0,
    stratify: Annotated[
        str | None, typer.Option(metavar="FIELD", help="Equal shares of this field on both sides.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where to write. [FILE's name + '-split']")
    ] = None,
    max_bad_rows: MaxBadRows = 0,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Cut a file into train.jsonl and eval.jsonl, near-duplicates on one side."""
    sizes = _sizes(eval_fraction, train, eval)

    from maporl_cli.data.partition import Sizes
    from maporl_cli.data.split_file import split_file
    from maporl_cli.data.writing import refuse_existing

    folder = out or file.parent / f"{file.stem}-split"
    paths = {"train": folder / "train.jsonl", "eval": folder / "eval.jsonl"}
    refuse_existing(paths.values(), overwrite=overwrite)
    report = split_file(
        file,
        paths["train"],
        paths["eval"],
        Sizes(*sizes),
        seed=seed,
        stratify=stratify,
        max_bad_rows=max_bad_rows,
    )
    _say_bad(file, report.bad)
    if json:
        emit(
            {
                "train": {"path": str(paths["train"]), "questions": report.train},
                "eval": {"path": str(paths["eval"]), "questions": report.eval},
                "unused": report.unused,
                "clusters": report.clusters,
                "bad": _bad_json(report.bad),
            }
        )
        return
    result(f"{paths['train']}: {report.train} questions")
    result(f"{paths['eval']}: {report.eval} questions")
    total = report.train + report.eval + report.unused
    result(f"{total} rows make {report.clusters} sets of near-duplicates; {report.unused} rows are unused.")


@app.command()
def upload(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", readable=False, help="A file of questions, or a folder of them.")
    ],
    channel: Annotated[Channel, typer.Option("--channel", help="What jobs read it as.")],
    bucket: Annotated[str, typer.Option("--bucket", metavar="B", help="An S3 bucket of your own.")],
    prefix: Annotated[
        str, typer.Option("--prefix", metavar="P", help="What keys begin with.", show_default=True)
    ] = "maporl",
    kms_key: Annotated[
        str | None, typer.Option("--kms-key", metavar="ARN", help="Encrypt with this KMS key.")
    ] = None,
    region: Annotated[str | None, typer.Option("--region", metavar="R", help="Where jobs shall run.")] = None,
    json: Json = False,
) -> None:
    """Send files of questions to S3, for training jobs to read; what is there already is not sent twice."""
    from maporl_cli.core.errors import DataError
    from maporl_cli.data.aws import aws_session
    from maporl_cli.data.channels import files_of, note_channel
    from maporl_cli.data.s3 import Bucket
    from maporl_cli.data.validate import validate

    files = files_of(path)
    for file in files:
        report = validate(file)
        if report.bad or not report.questions:
            raise DataError(
                "A file is not ready to be trained on.",
                where=str(file),
                why=f"{len(report.bad)} of its {report.questions + len(report.bad)} rows are no questions",
                fix=f"maporl data validate {file} lists them",
            )
    target = Bucket(bucket, aws_session(region), kms_key=kms_key)
    folder = "/".join([*filter(None, prefix.split("/")), channel.value, ""])
    keys = {file: f"{folder}{file.name}" for file in files}
    sent: dict[Path, bool] = {}
    with transfer(sum(file.stat().st_size for file in files)) as on_bytes:
        for file, key in keys.items():
            sent[file] = target.upload(file, key, on_bytes)
    for key in target.others(folder, set(keys.values())):
        say(f"{target.uri(key)} is there as well, and jobs will read it, too.")
    note_channel(channel, target.uri(folder))
    if json:
        told = [{"path": str(one), "uri": target.uri(keys[one]), "sent": sent[one]} for one in files]
        emit({"channel": channel.value, "uri": target.uri(folder), "files": told})
        return
    for file, key in keys.items():
        result(f"{target.uri(key)}: {'sent' if sent[file] else 'was there already'}")
    result(f"channel {channel.value}: {target.uri(folder)}")


def _sizes(
    fraction: float | None, train: int | None, eval: int | None
) -> tuple[float | None, int | None, int | None]:
    """Either a fraction or both counts."""
    from maporl_cli.core.errors import UsageError

    counts = (train is not None, eval is not None)
    if (fraction is None) == (not any(counts)) or any(counts) != all(counts):
        raise UsageError(
            "How large are the two sides?",
            why="a split needs either a fraction or both counts",
            fix="--eval-fraction F, or --train N --eval N",
        )
    if fraction is not None and not 0 < fraction < 1:
        raise UsageError(
            f"--eval-fraction {fraction} is no share.", fix="give a number between 0 and 1, such as 0.2"
        )
    return fraction, train, eval


def _show(report: FileReport) -> None:
    rows: list[tuple[str, str]] = [
        ("rows", str(report.questions + len(report.bad))),
        ("questions", str(report.questions)),
        ("without a gold answer", str(report.unlabelled)),
        ("formats", _histogram(report.formats)),
        ("options", _histogram({f"{n} options" if n else "free text": c for n, c in report.options.items()})),
        ("gold letters", _histogram(report.letters)),
    ]
    repeats = (
        ("exact duplicates", report.exact),
        ("conflicting labels", report.conflicts),
        ("near-duplicates", report.near),
    )
    for name, found in repeats:
        shown = "; ".join(" = ".join(places) for places in found.sets[:5])
        more = f"; and {len(found.sets) - 5} more sets" if len(found.sets) > 5 else ""
        rows.append((name, f"{found.rows} ({shown}{more})" if found.rows else "0"))
    rows.append(("bad rows", str(len(report.bad))))
    if report.test_set:
        rows.append(("public test set", report.test_set))
    _table(str(report.path), rows)
    for row in report.bad:
        result(f"{report.path}, {row.place}: {row.reason}")


def _histogram(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


def _table(title: str, rows: Iterable[tuple[str, str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False)
    for name, value in rows:
        # `Text`, since a file may hold what looks like Rich's markup.
        table.add_row(Text(name), Text(value))
    result(title)
    Console().print(table)


def _say_bad(path: Path, bad: list[BadRow]) -> None:
    for row in bad:
        say(f"{path}, {row.place}: left out, {row.reason}")


def _bad_json(bad: list[BadRow]) -> list[dict[str, str]]:
    return [{"place": row.place, "reason": row.reason} for row in bad]
