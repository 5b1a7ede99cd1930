"""The way to AWS: a session in a region, clients that try again, and its errors in our words."""

# boto3 and botocore leave their signatures untyped.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

from boto3.exceptions import S3UploadFailedError
from boto3.session import Session
from botocore.config import Config as BotoConfig
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)

from maporl_cli.core.errors import ConfigError, MaporlError, MissingError, RunFailed

EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"})
"""What AWS says of credentials that were good once."""
THROTTLED = frozenset({"Throttling", "ThrottlingException", "TooManyRequestsException", "SlowDown"})
FORBIDDEN = frozenset({"403", "AccessDenied", "AccessDeniedException", "Forbidden", "AllAccessDisabled"})
_RETRIES: Any = {"mode": "standard", "total_max_attempts": 6}
"""Throttled or failing requests are tried again, at growing intervals, six times in all. (botocore's
`max_attempts` would not count the first.)"""
_IN_PASSING: Any = {
    "retries": {"mode": "standard", "total_max_attempts": 2},
    "connect_timeout": 5,
    "read_timeout": 20,
}
"""Of what would be good to know, nobody waits for long."""
_UNKNOWN_KEY = frozenset(
    {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "InvalidClientTokenId"}
    | {"UnrecognizedClientException", "InvalidSignatureException"}
)

Telling = Mapping[str, Callable[[str], MaporlError]]
"""What an error code means where it is met; given AWS's own message."""


def aws_session(region: str | None) -> Session:
    """A session in `region`; None: in that of the AWS configuration.

    Raises:
        MissingError: no region is set, or the profile is unknown.
    """
    with aws_errors("the AWS configuration"):
        session = Session(region_name=region)
    if session.region_name is None:
        raise MissingError("No AWS region is set.", fix="--region R, or set AWS_DEFAULT_REGION")
    return session


def aws_client(session: Session, service: str, *, patient: bool = True) -> Any:
    """A client that tries throttled and failing requests again.

    Args:
        patient: up to five times; else once, where an answer would be good to have and no more.

    Raises:
        MissingError: there is no such region.
    """
    told: Any = {"retries": _RETRIES} if patient else _IN_PASSING
    with aws_errors(f"{service} in {session.region_name}"):
        return session.client(service, config=BotoConfig(**told))  # pyright: ignore[reportCallIssue, reportArgumentType]


def error_code(error: ClientError) -> str:
    """What AWS calls an error."""
    return str(error.response.get("Error", {}).get("Code", ""))


def lapsed(error: Exception) -> bool:
    """Whether credentials that were good have come to their end, so that only newer ones help."""
    if isinstance(error, ClientError):
        return error_code(error) in EXPIRED
    # The last: a program that fetches credentials, often from a login that has lapsed, had none.
    return isinstance(error, TokenRetrievalError | SSOError | CredentialRetrievalError)


def passing(error: Exception) -> bool:
    """Whether the same request may well be answered later: too many at once, or nobody there just now."""
    if not isinstance(error, ClientError):
        return isinstance(error, ConnectionError | HTTPClientError)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return error_code(error) in THROTTLED or status >= 500


@contextmanager
def aws_errors(where: str, telling: Telling | None = None) -> Generator[None]:
    """Turns what AWS and the way to it say into our errors; never with a key or token in them.

    Args:
        where: what was asked for.
        telling: what error codes mean here, before their general meaning.

    Raises:
        MissingError: credentials, a right or the connection is missing.
        RunFailed: anything else that AWS answers.
    """
    try:
        yield
    except S3UploadFailedError as error:
        cause = error.__cause__ or error.__context__
        raise _told(cause if isinstance(cause, Exception) else error, where, telling or {}) from error
    except (ClientError, BotoCoreError) as error:
        raise _told(error, where, telling or {}) from error


def _told(error: Exception, where: str, telling: Telling) -> MaporlError:
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return MissingError(
            "There are no AWS credentials.",
            where=where,
            fix="aws configure, aws sso login, or set AWS_PROFILE",
        )
    if isinstance(error, ProfileNotFound):
        return MissingError(
            "There is no such AWS profile.", why=str(error), fix="aws configure list-profiles"
        )
    if isinstance(error, TokenRetrievalError | SSOError):
        return _expired(where)
    if isinstance(error, ConnectionError | HTTPClientError):
        return MissingError(
            "AWS does not answer.",
            where=where,
            why=type(error).__name__,
            fix="look at the connection, proxy and region, and run the same command again",
        )
    if isinstance(error, ParamValidationError):
        why = str(error).splitlines()[-1].strip()
        return ConfigError("AWS cannot be asked for that.", where=where, why=why, fix="correct the name")
    if not isinstance(error, ClientError):
        return RunFailed(
            "AWS could not be asked.", where=where, why=type(error).__name__, fix="see the reason"
        )
    code, message = error_code(error), str(error.response.get("Error", {}).get("Message", ""))
    if code in telling:
        return telling[code](message)
    if code in EXPIRED:
        return _expired(where)
    if code in _UNKNOWN_KEY:
        return MissingError(
            "AWS does not know these credentials.", where=where, why=code, fix="aws configure, or AWS_PROFILE"
        )
    if code in FORBIDDEN:
        return MissingError(
            "AWS does not allow it.",
            where=where,
            why=f"{code}: {message}",
            fix="have the action that it names allowed for these credentials, or log in as somebody who may",
        )
    if code in THROTTLED:
        return MissingError(
            "AWS asks for a pause, also after several tries.",
            where=where,
            why=code,
            fix="run the same command again in a few minutes",
        )
    return RunFailed("AWS refused the request.", where=where, why=f"{code}: {message}", fix="see the reason")


def _expired(where: str) -> MissingError:
    return MissingError(
        "The AWS credentials have expired.", where=where, fix="log in again, and run the same command"
    )
