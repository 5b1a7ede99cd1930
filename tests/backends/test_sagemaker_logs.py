"""`maporl logs` of jobs on SageMaker and CloudWatch as moto plays them over HTTP, and of runs here."""

from __future__ import annotations

import gzip
import json
import os
import random
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sagemaker_server as server
from botocore.exceptions import ConnectionClosedError
from conftest import AWS_SECRET
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto.core.exceptions import JsonRESTError
from moto.logs.responses import LogsResponse
from sagemaker_server import run_command

from maporl_cli.backends.sagemaker import logs
from maporl_cli.core.errors import ConfigError, Interrupted, MissingError, RunFailed
from maporl_cli.core.run_dir import RunDir
from maporl_cli.core.run_lock import alone_in
from maporl_cli.data.aws import aws_session
from maporl_cli.monitoring import run_log

JOB = "demo-1"
FIRST = f"{JOB}/algo-1-1700000000"


@pytest.fixture
def cloud(aws, monkeypatch) -> Any:
    """No job but `JOB`, which trains."""
    server.share_models(monkeypatch)
    server.reset()
    job = server.create_job(JOB)
    server.set_state(job, "InProgress", "Training")
    yield job
    server.reset()


def ends(
    job: Any, status: str = "Completed", secondary: str | None = None, reason: str | None = None
) -> None:
    server.set_state(job, status, secondary, reason=reason)
    job.training_end_time = datetime.now(UTC)


def settle(job: Any, status: str = "Completed", secondary: str | None = None, **more: Any) -> None:
    """Ended long ago."""
    ends(job, status, secondary, **more)
    job.training_end_time -= timedelta(days=1)


def nothing() -> None:
    pass


class Watched:
    def __init__(self, session: Any = None) -> None:
        self.session = session or aws_session(None)
        self.lines: list[tuple[int | None, str]] = []
        self.said: list[str] = []

    def follow(self, rank: int | None = None) -> dict[str, Any]:
        return logs.follow(
            self.session, JOB, rank=rank, show=lambda *line: self.lines.append(line), say=self.said.append
        )

    @property
    def texts(self) -> list[str]:
        return [text for _, text in self.lines]


def invoke(*words: str, code: int = 0) -> Any:
    return run_command("logs", *words, code=code)


EVENTS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 5), st.sampled_from("abc")), min_size=1, max_size=40
)


@pytest.fixture
def session(aws) -> Any:
    """One for many: what it knows of AWS is slow to read."""
    return aws_session(None)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(polls=st.lists(EVENTS, min_size=1, max_size=4), late=EVENTS, seed=st.integers(0, 999))
def test_each_line_once_and_in_order_however_the_streams_grow(
    cloud, session, polls: Any, late: Any, seed: int
) -> None:
    """Streams that come late, small and empty pages, equal times and texts, a watcher who comes and goes."""
    chance = random.Random(seed)
    now = int(datetime.now(UTC).timestamp() * 1000)
    written: dict[int, list[str]] = {}

    def write(events: Any, poll: int) -> None:
        for stream in range(4):
            # Hosts write in the order of their own clocks, and no two polls' events overlap in time.
            own = sorted((when, text) for at, when, text in events if at == stream)
            lines = [(now + poll * 10 + when, f"[rank {stream}] {text}\n") for when, text in own]
            if lines:
                server.put_lines(f"{JOB}/algo-{stream + 1}-17", *lines)
                written.setdefault(stream, []).extend(line.rstrip("\n") for _, line in lines)

    def leave() -> None:
        raise KeyboardInterrupt

    server.backend("logs").groups.clear()
    server.set_state(cloud, "InProgress", "Training")
    server.put_lines("demo-12/algo-1-17", "[rank 0] of another job")
    pages = (chance.randint(1, 5), chance.randint(1, 3))
    with pytest.MonkeyPatch.context() as patch:
        server.page_by(patch, *pages)
        write(polls[0], 0)
        more = [lambda n=n: write(polls[n], n) for n in range(1, len(polls))]
        server.steps(patch, logs, *more, leave)
        first = Watched(session)
        with pytest.raises(Interrupted):
            first.follow()
        assert_all(first, written)
        # The job ends, and CloudWatch has its last lines only after that.
        server.steps(
            patch, logs, lambda: ends(cloud), nothing, lambda: write(late, 9), nothing, nothing, nothing
        )
        second = Watched(session)
        assert second.follow()["TrainingJobStatus"] == "Completed"
        assert_all(second, written)


def assert_all(watched: Watched, written: dict[int, list[str]]) -> None:
    shown: dict[int | None, list[str]] = {}
    for rank, text in watched.lines:
        shown.setdefault(rank, []).append(text)
    assert shown == written


def test_what_several_streams_have_at_once_is_shown_by_time(cloud) -> None:
    now = int(datetime.now(UTC).timestamp() * 1000)
    server.put_lines(FIRST, *((now + n, f"[rank 0] {n}") for n in (0, 2, 4)))
    server.put_lines(f"{JOB}/algo-2-17", *((now + n, f"[rank 1] {n}") for n in (1, 3, 5)))
    settle(cloud)
    watched = Watched()
    watched.follow()
    assert watched.lines == [(n % 2, f"[rank {n % 2}] {n}") for n in range(6)]


def test_more_than_a_page_of_events_is_one_log(cloud) -> None:
    """CloudWatch's own pages hold 10,000."""
    now = int(datetime.now(UTC).timestamp() * 1000)
    for start in (0, 10_000):
        server.put_lines(FIRST, *((now, f"line {start + n}") for n in range(10_000 - start // 2)))
    done = invoke(JOB)
    assert done.stdout.splitlines() == [f"line {n}" for n in range(15_000)]


def test_the_end_is_told_by_the_exit_code(cloud) -> None:
    server.put_lines(FIRST, "[rank 0] step=1; train:loss=0.5;")
    assert invoke(JOB).stdout == "[rank 0] step=1; train:loss=0.5;\n"
    for follow in ((), ("-f",)):
        settle(cloud)
        assert invoke(JOB, *follow).stdout == "[rank 0] step=1; train:loss=0.5;\n"
        settle(cloud, "Failed", reason="AlgorithmError: \x1b[2JNaN in the loss\nFix: lower it")
        done = invoke(JOB, *follow, code=1)
        assert isinstance(done.exception, RunFailed)
        assert f"The job {JOB} failed." in done.exception.message
        assert "AlgorithmError: \\x1b[2JNaN in the loss Fix: lower it" in done.exception.message
        assert done.stdout == "[rank 0] step=1; train:loss=0.5;\n"
        settle(cloud, "Stopped")
        assert f"The job {JOB} was stopped." in str(invoke(JOB, *follow, code=1).exception)
        settle(cloud, "Stopped", "MaxRuntimeExceeded")
        assert "as long as it was allowed to" in str(invoke(JOB, *follow, code=1).exception)


def test_without_follow_a_job_that_goes_on_is_not_waited_for(cloud, monkeypatch) -> None:
    server.steps(monkeypatch, logs)
    server.put_lines(FIRST, "so far")
    assert invoke(JOB).stdout == "so far\n"


def test_before_the_first_line_of_any_job_there_is_no_group(cloud) -> None:
    assert invoke(JOB).stdout == ""


def test_a_job_that_just_ended_is_waited_for_and_one_of_yesterday_is_not(cloud, monkeypatch) -> None:
    ends(cloud)
    late = [nothing, lambda: server.put_lines(FIRST, "late")]
    paused = server.steps(monkeypatch, logs, *late, nothing, nothing, nothing)
    watched = Watched()
    watched.follow()
    assert watched.texts == ["late"]
    assert paused == [logs.POLL_SECONDS] * 5
    settle(cloud)
    server.steps(monkeypatch, logs)
    Watched().follow()


def test_the_changes_of_its_state_are_told_once_each(cloud, monkeypatch) -> None:
    told = [
        ("Starting", "Preparing the instances for training"),
        ("Training", "Training image download completed"),
        ("Interrupted", "Training job interrupted"),
        ("Restarting", "Restarting the training job"),
        ("Training", "Training in progress"),
    ]

    def up_to(count: int, message: str | None = None) -> None:
        cloud.secondary_status_transitions = server.changes(*told[:count])
        if message:
            cloud.secondary_status_transitions[-1]["StatusMessage"] = message

    up_to(1)
    server.steps(
        monkeypatch,
        logs,
        lambda: up_to(1, "Insufficient capacity\x1b]0;x\x07"),
        lambda: up_to(3),
        lambda: up_to(5),
        lambda: settle(cloud),
    )
    done = invoke(JOB, "-f")
    assert done.stdout == ""
    said = done.stderr.splitlines()
    assert [line.split("  ", 1)[1] for line in said] == [
        "Starting: Preparing the instances for training",
        r"Starting: Insufficient capacity\x1b]0;x\x07",
        "Starting: Preparing the instances for training",
        "Training: Training image download completed",
        "Interrupted: the spot instance was taken away; Training job interrupted",
        "Restarting: another instance goes on from the last checkpoint; Restarting the training job",
        "Training: Training in progress",
    ]
    assert said[0].startswith(f"{server.START:%Y-%m-%dT%H:%M:%SZ}  ")


def test_ctrl_c_leaves_the_job_alone(cloud, monkeypatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    server.put_lines(FIRST, "so far")
    server.steps(monkeypatch, logs, interrupt)
    done = invoke(JOB, "-f", code=130)
    assert done.stdout == "so far\n"
    assert str(done.exception) == (
        f"{JOB} goes on.\nFix: maporl logs {JOB} -f to watch it again, maporl jobs stop {JOB} to stop it"
    )
    assert server.backend("sagemaker").training_jobs[JOB].training_job_status == "InProgress"
    ends(cloud)
    server.steps(monkeypatch, logs, interrupt)
    assert f"{JOB} has ended" in str(invoke(JOB, "-f", code=130).exception)


def credentials(key: str) -> None:
    Path(os.environ["AWS_SHARED_CREDENTIALS_FILE"]).write_text(
        f"[default]\naws_access_key_id={key}\naws_secret_access_key={AWS_SECRET}\naws_session_token=t\n"
    )


@pytest.fixture
def old_key(cloud, monkeypatch) -> list[str]:
    """The server takes the key AKIAOLD for expired as soon as it is in the list."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    credentials("AKIAOLD")
    expired: list[str] = []
    read = LogsResponse.get_log_events

    def refuse(self: Any) -> str:
        if any(key in self.headers["Authorization"] for key in expired):
            raise JsonRESTError("ExpiredTokenException", f"The security token {AWS_SECRET} is expired")
        return read(self)

    monkeypatch.setattr(LogsResponse, "get_log_events", refuse)
    return expired


def test_newer_credentials_go_on_where_the_older_ones_ended(cloud, old_key, monkeypatch) -> None:
    server.put_lines(FIRST, "one", "two")

    def expire() -> None:
        old_key.append("AKIAOLD")
        server.put_lines(FIRST, "three")

    def log_in() -> None:
        credentials("AKIANEW")

    server.steps(monkeypatch, logs, expire, log_in, lambda: settle(cloud))
    watched = Watched()
    watched.follow()
    assert watched.texts == ["one", "two", "three"]
    assert watched.said[-2:] == ["The AWS credentials have expired; looking for newer ones …"] * 2


def test_without_newer_credentials_it_says_how_to_go_on(cloud, old_key, monkeypatch) -> None:
    server.put_lines(FIRST, "one", "two")
    server.steps(monkeypatch, logs, lambda: old_key.append("AKIAOLD"), nothing)
    done = invoke(JOB, "-f", code=4)
    assert isinstance(done.exception, MissingError)
    assert done.stdout == "one\ntwo\n"
    assert "have expired" in done.exception.message
    assert "all that had come by then was shown" in done.exception.message
    assert done.exception.message.endswith(f"Fix: log in again, then: maporl logs {JOB} -f")


def troubled(monkeypatch: Any, *troubles: str | None) -> None:
    """The server answers so to requests for events; None: as ever, and to all after these, too."""
    left, read = list(troubles), LogsResponse.get_log_events

    def answer(self: Any) -> str:
        trouble = left.pop(0) if left else None
        if trouble == "ServiceUnavailableException":
            error = JsonRESTError(trouble, "later")
            error.code = 503
            raise error
        if trouble is not None:
            raise JsonRESTError(trouble, "The specified nextToken is invalid.")
        return read(self)

    monkeypatch.setattr(LogsResponse, "get_log_events", answer)
    monkeypatch.setattr("maporl_cli.data.aws._RETRIES", {"mode": "standard", "total_max_attempts": 1})
    monkeypatch.setattr(logs, "POLL_SECONDS", 0.001)


def test_throttling_and_failing_servers_are_waited_out(cloud, monkeypatch) -> None:
    server.page_by(monkeypatch, 2, 1)
    server.put_lines(FIRST, *"abcdefg")
    settle(cloud)
    troubled(
        monkeypatch, None, "ThrottlingException", "ThrottlingException", None, "ServiceUnavailableException"
    )
    watched = Watched()
    watched.follow()
    assert watched.texts == list("abcdefg")
    assert watched.said[-2:] == ["AWS does not answer just now; trying again until it does …"] * 2


def test_a_lost_connection_is_waited_for_and_at_last_told(cloud, monkeypatch) -> None:
    server.put_lines(FIRST, *"abc")
    settle(cloud)
    session = aws_session(None)
    down = iter([True, True, False])

    def cut(**_: Any) -> None:
        if next(down, False):
            raise ConnectionClosedError(endpoint_url="x")

    session.events.register("before-send.cloudwatch-logs.GetLogEvents", cut)
    monkeypatch.setattr(logs, "POLL_SECONDS", 0.001)
    watched = Watched(session)
    monkeypatch.setattr("maporl_cli.data.aws._RETRIES", {"mode": "standard", "total_max_attempts": 1})
    watched.follow()
    assert watched.texts == list("abc")
    assert next(down, "asked") == "asked"
    monkeypatch.setattr(logs, "_PATIENCE", 0.0)
    down = iter([False, True])
    with pytest.raises(MissingError, match=rf"(?s)does not answer any more.*Fix: .*maporl logs {JOB} -f"):
        watched.follow()


def test_a_position_that_cloudwatch_forgot_is_found_again(cloud, monkeypatch) -> None:
    """Its tokens are good for 24 hours; a stream may be silent for longer."""
    server.page_by(monkeypatch, 2, 1)
    server.put_lines(FIRST, *"aabbccc")
    settle(cloud)
    troubled(
        monkeypatch, None, None, "InvalidParameterException", None, None, None, "InvalidParameterException"
    )
    watched = Watched()
    watched.follow()
    assert watched.texts == list("aabbccc")
    troubled(monkeypatch, "InvalidParameterException")
    with pytest.raises(RunFailed, match="nextToken is invalid"):
        watched.follow()


def test_a_rank_alone_and_what_its_lines_hold(cloud) -> None:
    server.put_lines(
        FIRST,
        "Invoking script",
        "[rank 0] [bold]step=1[/bold];",
        "[rank 1] \x1b[31mred\x1b[0m \x1b]0;title\x07\x1b[2J\r50%\x9b1A\u202e",
        "[rank 1] Traceback:\n  line 1\r\n\n  line 2\n",
        "[rank 11] eleven",
    )
    settle(cloud)
    assert invoke(JOB).stdout.splitlines()[:2] == ["Invoking script", "[rank 0] [bold]step=1[/bold];"]
    assert invoke(JOB, "--rank", "1").stdout.split("\n") == [
        r"[rank 1] red \x1b]0;title\x07\x1b[2J\r50%\x9b1A\u202e",
        "[rank 1] Traceback:",
        "  line 1",
        "",
        "  line 2",
        "",
    ]


def test_ranks_have_colours_where_somebody_watches(cloud, monkeypatch) -> None:
    server.put_lines(FIRST, "[rank 0] [red]a", "[rank 1] b", "none")
    settle(cloud)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert invoke(JOB).stdout.splitlines() == [
        "\x1b[36m[rank 0] [red]a\x1b[0m",
        "\x1b[35m[rank 1] b\x1b[0m",
        "none",
    ]


def test_a_job_that_is_not_there(cloud, monkeypatch, tmp_path) -> None:
    server.add_search(monkeypatch)
    (tmp_path / "runs" / "demo").mkdir(parents=True)
    (tmp_path / "runs" / "demo" / "config.yaml").touch()
    done = invoke("demo-2", code=4)
    assert "There is no job demo-2." in str(done.exception)
    assert f"Fix: did you mean {JOB}? maporl jobs ls" in str(done.exception)
    assert "did you mean demo?" in done.stderr
    assert "eu-west-1" in str(done.exception)
    for name in ("under_score", "-begins", "x" * 64, "\x1b[2J"):
        assert "There is no job" in str(invoke("--", name, code=4).exception)
    assert isinstance(invoke("runs/none", code=3).exception, ConfigError)


def test_without_credentials_or_region(cloud, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.delenv("AWS_DEFAULT_REGION")
        assert "Fix: --region R" in str(invoke(JOB, code=4).exception)
        invoke(JOB, "--region", "eu-west-1")
    assert "Fix: " in str(invoke(JOB, "--region", "us-east-2", code=4).exception)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert "There are no AWS credentials." in str(invoke(JOB, "-f", code=4).exception)


@pytest.fixture
def run(tmp_path, monkeypatch) -> RunDir:
    """A run here that has ended well."""
    monkeypatch.chdir(tmp_path)
    found = RunDir(Path("runs") / "demo")
    found.rank_log(1).parent.mkdir(parents=True)
    found.config.touch()
    found.training_log.write_text("one\ntwo \x1b[2J\n")
    found.rank_log(1).write_text("of rank 1\n")
    found.results.write_text("{}")
    return found


def test_a_run_here_by_its_name_or_its_place(run) -> None:
    for name in ("demo", "runs/demo", str(run.path.absolute())):
        assert invoke(name, "-f").stdout == "one\ntwo \\x1b[2J\n"
    assert invoke("demo", "--rank", "1").stdout == "of rank 1\n"
    assert "the run has training.log, rank_1.log" in str(invoke("demo", "--rank", "2", code=4).exception)
    run.results.unlink()
    assert "ended before it was done" in str(invoke("demo", code=1).exception)


def test_a_packed_log_is_read_and_a_damaged_one_told(run) -> None:
    packed = run.training_log.with_name("training.log.gz")
    packed.write_bytes(gzip.compress(b"packed\n"))
    run.training_log.unlink()
    assert invoke("demo").stdout == "packed\n"
    packed.write_bytes(packed.read_bytes()[:-9])
    assert "damaged" in str(invoke("demo", code=1).exception)


def test_a_run_here_is_followed_until_nobody_holds_it(run, monkeypatch) -> None:
    run.results.unlink()
    lock = ExitStack()
    lock.enter_context(alone_in(run))

    def add(text: str) -> None:
        with run.training_log.open("a") as log:
            log.write(text)

    def begin_anew() -> None:
        run.training_log.unlink()
        run.training_log.write_text("anew\n")

    def end() -> None:
        add("last\nhalf a line")
        run.results.write_text(json.dumps({}))
        lock.close()

    with lock:
        server.steps(monkeypatch, run_log, lambda: add("thr"), lambda: add("ee\n"), begin_anew, end)
        assert invoke("demo", "-f").stdout.splitlines() == [
            "one", r"two \x1b[2J", "three", "anew", "last", "half a line",
        ]  # fmt: skip


def test_a_run_here_that_goes_on_is_no_failure(run) -> None:
    run.results.unlink()
    run.training_log.write_text("one\nhalf")
    with alone_in(run):
        assert invoke("demo").stdout == "one\n"
        run.training_log.unlink()
        assert "nothing was written to it yet" in str(invoke("demo", code=4).exception)
