"""How every command starts and ends: quickly, with the right code, in sentences."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from maporl_cli import __version__
from maporl_cli.cli.main import app
from maporl_cli.core.errors import ConfigError, Interrupted, MissingError, RunFailed, UsageError

HEAVY = {
    "torch",
    "transformers",
    "numpy",
    "pandas",
    "scipy",
    "datasets",
    "langgraph",
    "wandb",
    "boto3",
    "peft",
    "starlette",
    "uvicorn",
}
# What is written waits in a buffer, as it does for a user.
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
CALL = "import sys; from maporl_cli.cli.main import main; sys.argv[0] = 'maporl'; main()"
WATCHED = (
    f"import atexit; atexit.register(lambda: print({HEAVY} & set(sys.modules), file=sys.stderr)); {CALL}"
)


def run(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", CALL, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["train", "--help"],
        ["eval", "--help"],
        ["data", "--help"],
        ["model", "pull", "--help"],
        ["serve", "--help"],
    ],
    ids=" ".join,
)
def test_help_imports_nothing_heavy(arguments):
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0
    assert "Usage: maporl" in done.stdout
    assert done.stderr.strip() == "set()"


def commands(command: Any, *names: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command below one, by the words that it is called with."""
    for name, one in getattr(command, "commands", {}).items():
        yield from commands(one, *names, name)
    if names:
        yield names, command


@pytest.mark.parametrize(("names", "command"), list(commands(typer.main.get_command(app))), ids=str)
def test_what_an_option_says_of_itself_is_shown_whole(names, command):
    """Words in brackets would be taken for markup, and vanish."""
    told = CliRunner().invoke(app, [*names, "--help"], terminal_width=500, env={"COLUMNS": "500"})
    shown = "".join(told.stdout.split())
    for parameter in command.params:
        assert "".join((parameter.help or "").split()) in shown, f"{parameter.name}: {parameter.help}"


def test_help_takes_less_than_half_a_second_of_processor_time():
    """Processor time, since other tests run beside this one; the best of three, since caches warm up."""

    def seconds() -> float:
        before = os.times()
        run("--help")
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    assert min(seconds() for _ in range(3)) < 0.5


def test_help_names_every_group():
    shown = run("--help").stdout
    for name in ("train", "eval", "ask", "serve", "data", "model", "config"):
        assert f" {name} " in shown


def test_version():
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"maporl {__version__}\n")


@pytest.mark.parametrize(
    "arguments",
    [["--bogus"], ["trian"], ["train", "moon"], ["train", "--seed", "x"], ["config", "show", "extra"], []],
    ids=" ".join,
)
def test_bad_usage_exits_2(arguments):
    done = run(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert ("Usage: maporl" in done.stdout) if not arguments else ("\nFix: maporl" in done.stderr)


def test_a_misspelled_option_is_told_with_its_neighbours():
    done = run("train", "--sed", "3")
    assert done.stderr.splitlines() == [
        "No such option: --sed (Possible options: --preset, --seed, --set)",
        "Fix: maporl train --help lists what there is",
    ]


def fail_with(error: BaseException):
    def fail(*arguments, **named):
        raise error

    return fail


@pytest.fixture
def ends(monkeypatch, capfd):
    """Runs a command line whose work raises `error`; gives its exit code and what stderr says."""

    def ends(error: BaseException, *arguments: str) -> tuple[int, str]:
        from maporl_cli.cli import config
        from maporl_cli.cli.main import main

        monkeypatch.setattr(config, "resolve", fail_with(error))
        monkeypatch.setattr(sys, "argv", ["maporl", "config", "show"])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        assert out == ""
        return int(ended.value.code), err

    return ends


@pytest.mark.parametrize(
    ("kind", "code"),
    [(RunFailed, 1), (UsageError, 2), (ConfigError, 3), (MissingError, 4), (Interrupted, 130)],
)
def test_an_error_is_told_in_sentences_and_ends_in_its_code(kind, code, ends):
    error = kind("It [broke].", where="here", why="so", fix="mend it")
    assert ends(error) == (code, "It [broke].\nWhere: here\nWhy: so\nFix: mend it\n")


def test_long_lines_are_not_cut(ends):
    error = ConfigError("x" * 500, fix="y")
    assert "x" * 500 in ends(error)[1]


def test_ctrl_c_without_a_worker(ends):
    assert ends(KeyboardInterrupt())[0] == 130


def test_an_unforeseen_error_shows_its_place_but_not_its_text(ends):
    code, told = ends(ValueError("Mrs Smith is pregnant"))
    assert code == 1
    assert "ValueError" in told
    assert "config.py, line " in told
    assert "MAPORL_DEBUG=1" in told
    assert "Smith" not in told
    assert "Traceback" not in told


@pytest.mark.parametrize("error", [ValueError("all of it"), ConfigError("all of it", fix="mend it")])
def test_a_traceback_only_when_debugging(error, ends, monkeypatch):
    assert "Traceback" not in ends(error)[1]
    monkeypatch.setenv("MAPORL_DEBUG", "0")
    assert "Traceback" not in ends(error)[1]
    monkeypatch.setenv("MAPORL_DEBUG", "1")
    told = ends(error)[1]
    assert "Traceback" in told
    assert "all of it" in told


def test_a_full_disk_is_a_sentence(ends):
    code, told = ends(OSError(28, "No space left on device", "runs/demo/file"))
    assert code == 1
    assert told.startswith("There is no room left to write runs/demo/file.\n")
    assert "Fix: " in told


def test_an_absent_package_is_named(ends):
    code, told = ends(ModuleNotFoundError("No module named 'bm25s.x'", name="bm25s.x"))
    assert code == 4
    assert "bm25s.x is not installed" in told
    assert "Fix: " in told


def test_an_absent_part_of_maporl_itself_is_a_fault_of_ours(ends):
    code, told = ends(ModuleNotFoundError("No module named 'maporl_cli.x'", name="maporl_cli.x"))
    assert code == 1
    assert "MAPORL_DEBUG=1" in told


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_result_that_cannot_be_written_is_no_success():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", CALL, "config", "show"],
            stdout=full,
            env=BUFFERED,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert "no room left" in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_reader_that_leaves_is_met_with_silence():
    process = subprocess.Popen(
        [sys.executable, "-c", CALL, "config", "show"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=BUFFERED,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait() in (1, -signal.SIGPIPE)


def test_a_package_of_an_extra_names_the_extra(ends):
    code, told = ends(ModuleNotFoundError("No module named 'sagemaker'", name="sagemaker.core"))
    assert code == 4
    assert "pip install 'maporl[sagemaker]'" in told
