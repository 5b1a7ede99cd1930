"""`/ping` and `/invocations` around a team: what SageMaker asks of a container, on this machine."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import time
import traceback
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from maporl_cli.core.errors import DataError, MaporlError, MissingError, UsageError, debugging, unforeseen
from maporl_cli.core.harmless import harmless
from maporl_cli.serving.batches import Batches
from maporl_cli.serving.figures import Figures
from maporl_cli.serving.handler import input_fn, output_fn
from maporl_cli.serving.refusals import refusal, status_of
from maporl_cli.serving.requests import BODY, JSON, too_long
from maporl_cli.serving.served_team import ServedTeam

_BODY_SECONDS = 60.0
"""In which a request's body has to come."""
_DISCARDED = 16 * BODY
"""Bytes of a body that is too long which are read and thrown away: a client that is cut short while it sends
may never read why."""
_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
"""No browser takes an answer for a page, nobody on the way keeps it."""
_SEE_ALL = "run the server with MAPORL_DEBUG=1 to see all of it, and report that"
_SHOWN = 60
"""Characters of a path or a name in a refusal."""


class Service:
    """The team as an ASGI application.

    Args:
        say: told of a failure of the team, which is no fault of the request.
        local: what this machine alone calls it; requests to other names are refused. None: none are.

    Attributes:
        figures: what it has done so far.
        app: the application.
    """

    def __init__(self, team: ServedTeam, say: Callable[[str], None], local: str | None = None) -> None:
        self._team = team
        self._say = say
        self._batches = Batches(team)
        self.figures = Figures()
        app = Starlette(
            routes=[
                Route("/ping", self._ping, methods=["GET"]),
                Route("/invocations", self._invocations, methods=["POST"]),
            ],
            exception_handlers={HTTPException: _elsewhere},
            lifespan=self._playing,
        )
        self.app: ASGIApp = app if local is None else self._called(local, app)

    def told(self) -> dict[str, Any]:
        """The figures, and how many plays the questions shared."""
        return self.figures.told() | {"graph_runs": self._team.graph_runs}

    @asynccontextmanager
    async def _playing(self, app: Starlette) -> AsyncGenerator[None]:
        playing = asyncio.create_task(self._batches.run())
        yield
        playing.cancel()
        with suppress(asyncio.CancelledError):
            await playing

    async def _ping(self, request: Request) -> Response:
        return _told(self.told() | {"waiting": self._batches.waiting})

    async def _invocations(self, request: Request) -> Response:
        began = time.monotonic()
        try:
            asked = input_fn(await _body(request), request.headers.get("content-type"))
            self._team.refuse(asked)
            reply = await self._batches.answer(asked)
        except MaporlError as error:
            return self._refused(error)
        except ClientDisconnect:
            return self._refused(DataError("The request broke off.", fix="send all of it"))
        except Exception as error:  # noqa: BLE001 told without its text, which may quote a question
            if debugging(os.environ):
                traceback.print_exception(error)
            return self._refused(unforeseen("The team", error, fix=_SEE_ALL))
        self.figures.add(len(asked.questions), time.monotonic() - began)
        return Response(output_fn(reply, JSON), headers=_HEADERS, media_type=JSON)

    def _called(self, local: str, app: ASGIApp) -> ASGIApp:
        """The application, for requests by this machine's own names.

        A page in a browser could have its own name lead here (DNS rebinding), and read the answers.
        """

        async def called(scope: Scope, receive: Receive, send: Send) -> None:
            name = _host_of(Headers(scope=scope).get("host", "")) if scope["type"] == "http" else None
            if name is None or name == local.lower() or _is_local(name):
                await app(scope, receive, send)
                return
            told = DataError(
                "The request is to another name.",
                why=f"its Host is {harmless(name)[:_SHOWN] or 'none that can be read'}",
                fix=f"ask it as {local}; a proxy in front of it has to send that as Host",
            )
            await self._refused(told)(scope, receive, send)

        return called

    def _refused(self, error: MaporlError) -> Response:
        status = status_of(error)
        if status == 500:
            self.figures.failed += 1
            self._say(harmless(" ".join(error.message.splitlines())))
        else:
            self.figures.refused += 1
        return _told(refusal(error), status)


def _host_of(header: str) -> str:
    """The name or address in a `Host` header, in small letters; empty: there is none."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def _is_local(name: str) -> bool:
    """Whether a name or an address is this machine's for itself."""
    try:
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


async def _body(request: Request) -> bytes:
    """All of a request's body, if it is no longer than one may be."""
    body = bytearray()
    thrown = 0
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for part in request.stream():
                if len(body) + len(part) <= BODY:
                    body += part
                    continue
                thrown += len(part)
                if thrown > _DISCARDED:
                    break
    except TimeoutError:
        raise DataError(
            "The request broke off.",
            why=f"its body did not come within {_BODY_SECONDS:.0f} seconds",
            fix="send all of it at once",
        ) from None
    if thrown:
        raise too_long()
    return bytes(body)


async def _elsewhere(request: Request, error: Exception) -> Response:
    """Another path, or another method: both in the words of every other refusal."""
    assert isinstance(error, HTTPException)
    told = DataError(
        f"{harmless(request.method)} {harmless(request.url.path)[:_SHOWN]} is not served.",
        fix="POST a question to /invocations; GET /ping shows what was answered so far",
    )
    response = _told(refusal(told), error.status_code)
    response.headers.update(error.headers or {})
    return response


def _told(value: dict[str, Any], status: int = 200) -> Response:
    return Response(output_fn(value, JSON), status, _HEADERS, JSON)


def bound(host: str, port: int) -> socket.socket:
    """A socket at that address, which nobody can connect to before it listens; port 0 takes a free one.

    Raises:
        UsageError: this machine has no such address.
        MissingError: the port is in use, or not for this user.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise UsageError(
            f"There is no address {host}.",
            where="--host",
            fix="--host 127.0.0.1, or 0.0.0.0 for all networks",
        ) from error
    found = socket.socket(family, kind, protocol)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except OSError as error:
        found.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise UsageError(
                f"This machine does not have the address {host}.", where="--host", fix="--host 127.0.0.1"
            ) from error
        raise MissingError(
            f"The port {port} cannot be had.",
            where=f"{host}:{port}",
            why=error.strerror or str(error),
            fix="end what listens there, or choose another with --port; --port 0 takes a free one",
        ) from error
    return found


def is_local(listening: socket.socket) -> bool:
    """Whether only this machine reaches it."""
    return _is_local(listening.getsockname()[0])


def address_of(listening: socket.socket) -> str:
    """What a client calls it."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def server_of(service: Service) -> uvicorn.Server:
    """A server of the application, that says nothing by itself and waits at its end for what it has begun."""
    return uvicorn.Server(uvicorn.Config(service.app, log_config=None, access_log=False, lifespan="on"))


def serve_until_stopped(service: Service, listening: socket.socket) -> None:
    """Serve until SIGTERM or Ctrl-C, and then finish what has come; a second Ctrl-C does not wait for it.

    Raises:
        KeyboardInterrupt: it was Ctrl-C.
    """
    # uvicorn heeds the signal, and sends it again at its end to whoever did before: that it ends is all there
    # is to do about it.
    before = signal.signal(signal.SIGTERM, _has_ended)
    try:
        server_of(service).run(sockets=[listening])
    finally:
        signal.signal(signal.SIGTERM, before)


def _has_ended(number: int, frame: FrameType | None) -> None:
    pass
