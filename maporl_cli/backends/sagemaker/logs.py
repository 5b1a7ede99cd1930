"""What a job says: all that is there, or followed until it ends, whatever happens to the line in between."""

# boto3 and botocore leave their signatures untyped.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from boto3.session import Session
from botocore.exceptions import BotoCoreError, ClientError
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_exponential

from maporl_cli.backends.sagemaker.jobs import ENDED, describe
from maporl_cli.backends.sagemaker.log_streams import LogStreams
from maporl_cli.core.errors import Interrupted, MissingError
from maporl_cli.core.harmless import harmless
from maporl_cli.data.aws import aws_client, aws_errors, aws_session, lapsed, passing

POLL_SECONDS = 3.0
_QUIET_POLLS = 3
"""CloudWatch delivers late: so often in a row nothing has come of a job that just ended before it is left."""
_SETTLED = timedelta(minutes=10)
"""How long after a job's end nothing more is waited for."""
_PATIENCE = 1800.0
"""Seconds that a lost connection is waited for."""
_NEW_CREDENTIALS = 2
"""How often they are looked for in a row."""
_SERVICES = {"describe_training_job": "sagemaker", "describe_log_streams": "logs", "get_log_events": "logs"}
_RANK = re.compile(r"\[rank (\d+)\] ")
_MEANS = {
    "Interrupted": "the spot instance was taken away",
    "Restarting": "another instance goes on from the last checkpoint",
    "MaxWaitTimeExceeded": "no spot instance was to be had in time",
    "MaxRuntimeExceeded": "it ran for as long as it was allowed to",
}

Show = Callable[[int | None, str], None]
"""Takes a line and the rank that wrote it; None: the image's own launcher did."""
Say = Callable[[str], None]


def follow(session: Session, job: str, *, rank: int | None, show: Show, say: Say) -> dict[str, Any]:
    """Show what a job says from its first line on, until it has ended and all of it has come.

    Args:
        rank: whose lines are shown; None: all.
        show: given each line once.
        say: told how the job fares, and what happens to the connection.

    Returns:
        the description of the ended job.

    Raises:
        MissingError: there is no such job; the credentials have expired and no newer ones are there; or
            the connection is gone for good.
        Interrupted: Ctrl-C; the job goes on.
        MaporlError: as `aws_errors`.
    """
    watch = _Watch(session, job, rank, show, say)
    try:
        return watch.to_the_end()
    except KeyboardInterrupt:
        if watch.description["TrainingJobStatus"] in ENDED:
            raise Interrupted(
                f"{job} has ended; its log was not read to the end.", fix=f"maporl logs {job} shows all of it"
            ) from None
        raise Interrupted(
            f"{job} goes on.",
            fix=f"maporl logs {job} -f to watch it again, maporl jobs stop {job} to stop it",
        ) from None


def show_all(session: Session, job: str, *, rank: int | None, show: Show, say: Say) -> dict[str, Any]:
    """Show what a job has said up to now.

    Returns:
        the description of the job.

    Raises:
        MaporlError: as `follow`.
    """
    watch = _Watch(session, job, rank, show, say)
    watch.show_new()
    return watch.description


class _Watch:
    """Where the reading of a job's log stands."""

    def __init__(self, session: Session, job: str, rank: int | None, show: Show, say: Say) -> None:
        self._session, self._job, self._rank, self._show, self._say = session, job, rank, show, say
        # Outside of all patience: a job that is not there, or a line that never was, is told at once.
        self.description = describe(session, job)
        self._clients: dict[str, Any] = {}
        self._streams = LogStreams(job, self._ask)
        self._told: dict[tuple[datetime, str], str] = {}

    def to_the_end(self) -> dict[str, Any]:
        quiet = 0
        while True:
            self._tell_changes()
            ended = self.description["TrainingJobStatus"] in ENDED  # so all that it said is on its way
            came = self.show_new()
            quiet = 0 if came or not ended else quiet + 1
            if ended and (self._settled() or quiet >= _QUIET_POLLS):
                return self.description
            time.sleep(POLL_SECONDS)
            self.description = self._asked("describe_training_job", TrainingJobName=self._job)

    def show_new(self) -> bool:
        """Shows what is new; returns whether anything was, shown or not."""
        came = False
        with self._errors():
            for message in self._streams.new_messages():
                came = True
                for rank, line in _lines(message):
                    if self._rank is None or rank == self._rank:
                        self._show(rank, harmless(line))
        return came

    def _settled(self) -> bool:
        ended = self.description.get("TrainingEndTime") or self.description["LastModifiedTime"]
        return datetime.now(UTC) - ended > _SETTLED

    def _tell_changes(self) -> None:
        """Says each change of the job's state once, and what a state says of itself when that changes."""
        for change in self.description.get("SecondaryStatusTransitions", []):
            text = change_line(change)
            state = (change["StartTime"], change["Status"])
            if self._told.get(state) != text:
                self._told[state] = text
                self._say(text)

    def _asked(self, operation: str, **arguments: Any) -> dict[str, Any]:
        with self._errors():
            return self._ask(operation, **arguments)

    def _errors(self) -> Any:
        return aws_errors(f"the log of {self._job}")

    def _ask(self, operation: str, **arguments: Any) -> Any:
        """A request that is made again when that may help: with newer credentials, or after a while.

        Raises:
            MissingError: neither helped.
            ClientError, BotoCoreError: anything else.
        """
        for left in reversed(range(_NEW_CREDENTIALS + 1)):
            try:
                return self._patient(lambda: getattr(self._client(operation), operation)(**arguments))
            except (ClientError, BotoCoreError) as error:
                if passing(error):
                    raise self._cut_off("AWS does not answer any more.", "try again") from error
                if not lapsed(error):
                    raise
                if not left:
                    raise self._cut_off("The AWS credentials have expired.", "log in again") from error
                self._say("The AWS credentials have expired; looking for newer ones …")
                if left < _NEW_CREDENTIALS:
                    time.sleep(POLL_SECONDS)
                # A new session reads the files and the environment anew; the positions stay.
                self._session, self._clients = aws_session(self._session.region_name), {}
        raise AssertionError("the loop returns or raises")

    def _patient(self, request: Callable[[], Any]) -> Any:
        retrying = Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, Exception) and passing(error)),
            wait=wait_exponential(multiplier=POLL_SECONDS, max=60),
            stop=stop_after_delay(_PATIENCE),
            before_sleep=self._say_first_pause,
            reraise=True,
        )
        return retrying(request)

    def _say_first_pause(self, state: RetryCallState) -> None:
        if state.attempt_number == 1:
            self._say("AWS does not answer just now; trying again until it does …")

    def _client(self, operation: str) -> Any:
        service = _SERVICES[operation]
        if service not in self._clients:
            self._clients[service] = aws_client(self._session, service)
        return self._clients[service]

    def _cut_off(self, what: str, first: str) -> MissingError:
        ended = self.description["TrainingJobStatus"] in ENDED
        return MissingError(
            what,
            where=f"the log of {self._job}, at {_stamp(datetime.now(UTC))}",
            why="all that had come by then was shown"
            + ("" if ended else "; the job itself goes on without anybody watching"),
            fix=f"{first}, then: maporl logs {self._job} -f",
        )


def change_line(change: Mapping[str, Any]) -> str:
    """A change of a job's secondary status, as one line."""
    says = [_MEANS.get(change["Status"]), change.get("StatusMessage")]
    text = "; ".join(one for one in says if one)
    return harmless(f"{_stamp(change['StartTime'])}  {change['Status']}{': ' if text else ''}{text}")


def _stamp(when: datetime) -> str:
    return f"{when.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _lines(message: str) -> Iterator[tuple[int | None, str]]:
    """The lines of an event, each with the rank that wrote it."""
    rank: int | None = None
    for line in message.removesuffix("\n").split("\n"):
        found = _RANK.match(line)
        # An event of several lines is the work of one: what stands in front of the first holds for all.
        rank = rank if found is None else int(found[1])
        yield rank, line.removesuffix("\r")
