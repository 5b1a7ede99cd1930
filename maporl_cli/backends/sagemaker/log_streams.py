"""A job's log streams in CloudWatch, read in the order of time, each event once.

Of every stream a position is kept: the token that CloudWatch gives for what comes next, and the events that
were read and not yet handed on. Both change only by a whole answer or a whole event, so whatever cuts a
request short, nothing is lost or read twice when it is made again.
"""

# boto3 leaves its clients untyped.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from maporl_cli.data.aws import error_code

GROUP = "/aws/sagemaker/TrainingJobs"

Ask = Callable[..., Any]
"""Makes a request, given the operation's name and arguments; tries again what can be tried again."""


@dataclass
class _Stream:
    name: str
    token: str | None = None
    waiting: deque[dict[str, Any]] = field(default_factory=deque[dict[str, Any]])
    at_end: bool = False
    read_so_far: int = 0
    to_skip: int = 0

    def read(self, ask: Ask) -> None:
        """One more page."""
        place = {} if self.token is None else {"nextToken": self.token}
        try:
            page = ask(
                "get_log_events", logGroupName=GROUP, logStreamName=self.name, startFromHead=True, **place
            )
        except ClientError as error:
            if self.token is None or error_code(error) != "InvalidParameterException":
                raise
            # Tokens are good for 24 hours, and the first host of a long spot job may be silent for longer.
            self.token, self.to_skip = None, self.read_so_far
            return
        new = page["events"][self.to_skip :]
        self.to_skip -= len(page["events"]) - len(new)
        self.read_so_far += len(new)
        self.waiting.extend(new)
        # The sign of the end is the token that was sent; a page may be empty before it.
        self.at_end = page["nextForwardToken"] == self.token
        self.token = page["nextForwardToken"]


class LogStreams:
    """All the streams of a job, those that are yet to come included.

    Args:
        job: its name.
        ask: makes the requests.
    """

    def __init__(self, job: str, ask: Ask) -> None:
        # With the slash: a job's name may be how another one's begins.
        self._prefix, self._ask = f"{job}/", ask
        self._streams: dict[str, _Stream] = {}

    def new_messages(self) -> Iterator[str]:
        """What has come since: in order within a stream, and by time among them."""
        self._look_for_streams()
        streams = list(self._streams.values())
        for stream in streams:
            stream.at_end = False
        while True:
            for stream in streams:
                while not stream.waiting and not stream.at_end:
                    stream.read(self._ask)
            ready = [stream for stream in streams if stream.waiting]
            if not ready:
                return
            first = min(ready, key=lambda stream: stream.waiting[0]["timestamp"])
            yield first.waiting.popleft()["message"]

    def _look_for_streams(self) -> None:
        place: dict[str, str] = {}
        while True:
            try:
                page = self._ask(
                    "describe_log_streams", logGroupName=GROUP, logStreamNamePrefix=self._prefix, **place
                )
            except ClientError as error:
                if error_code(error) == "ResourceNotFoundException":  # no job has ever written a line here
                    return
                raise
            for one in page["logStreams"]:
                self._streams.setdefault(one["logStreamName"], _Stream(one["logStreamName"]))
            if not page.get("nextToken"):
                return
            place = {"nextToken": page["nextToken"]}
