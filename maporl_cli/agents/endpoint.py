"""Agents played by a server that speaks OpenAI's chat completions: vLLM, llama.cpp, a hosted model.

It is asked for text and gives text, so it can be evaluated in the agents' place, and cannot learn.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import wait
from threading import Thread
from typing import Any, TypeVar

import httpx
import numpy as np
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from maporl_cli.agents.policy import Message, Sample
from maporl_cli.agents.stage import stopped
from maporl_cli.core.errors import ConfigError, MissingError, RunFailed, UsageError

API_KEY = "OPENAI_API_KEY"
"""The environment variable that holds the key, if the server wants one."""
_ATTEMPTS = 4
_BUSY = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses after which trying again may help."""
_LISTEN = 0.1
"""Seconds between two looks at whether the user wants to stop."""
T = TypeVar("T")


class Endpoint:
    """A model on a server, as one more kind of speaker (`agents.policy.Speaker`).

    Its token ids are bytes, of a turn's text and of a prompt's messages in JSON, since nobody tells what the
    server's are; how many tokens were read and sampled is what the server counted. A greedy turn is asked for
    with temperature 0, a sampled one with a seed of its own, which a server may heed or not.

    Args:
        url: up to what stands before `/chat/completions`, as in http://localhost:8000/v1.
        model: as the server names it; None: the only one that it has.
        timeout: seconds without a sign before an attempt is given up.
        stopping: asked while the server is waited for.

    Raises:
        UsageError: the address is none.
        MissingError: nobody is there, or the key is refused.
        ConfigError: the model is not there, or it is not clear which one is meant.
    """

    version = 0
    context_length = sys.maxsize
    """The server looks after it."""

    def __init__(self, url: str, model: str | None, *, timeout: float, stopping: Callable[[], bool]) -> None:
        key = _key()
        self._url = _address(url)
        self._timeout = timeout
        self._stopping = stopping
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(timeout),
            limits=httpx.Limits(max_connections=None),
        )
        # A loop of its own, since the team's own loop waits for the turns that it asks for here.
        self._loop = asyncio.new_event_loop()
        Thread(target=self._loop.run_forever, daemon=True).start()
        self.model = self._wait(self._model(model))

    def encode(self, prompt: str) -> tuple[int, ...]:
        return self.encode_talk([("user", prompt)])

    def encode_talk(self, messages: Sequence[Message]) -> tuple[int, ...]:
        sendable = [(role, content.encode("utf-8", "replace").decode()) for role, content in messages]
        return tuple(json.dumps(sendable).encode())

    def decode(self, token_ids: Sequence[int]) -> str:
        return bytes(token_ids).decode("utf-8").strip()

    def sample(
        self,
        prompts: Sequence[tuple[int, ...]],
        generators: Sequence[np.random.Generator | None],
        *,
        max_new_tokens: int,
        temperature: float,
    ) -> list[Sample]:
        """One completion a prompt; all are asked for at once.

        Raises:
            RunFailed: the server refuses, stalls or answers something else.
            Interrupted: the user wants to stop.
        """
        bodies = [
            {
                "model": self.model,
                "messages": [{"role": role, "content": content} for role, content in _told(prompt)],
                "max_tokens": max_new_tokens,
                **({"temperature": 0.0} if draw is None else _sampling(draw, temperature)),
            }
            for prompt, draw in zip(prompts, generators, strict=True)
        ]
        return self._wait(self._complete_all(bodies))

    def _wait(self, asked: Coroutine[Any, Any, T]) -> T:
        answer = asyncio.run_coroutine_threadsafe(asked, self._loop)
        while not wait([answer], _LISTEN).done:
            if self._stopping():
                answer.cancel()
                raise stopped()
        return answer.result()

    async def _model(self, wanted: str | None) -> str:
        """The model's name at the server, which is asked what it has."""
        try:
            told = await self._client.get(f"{self._url}/models")
        except httpx.RequestError as error:
            raise MissingError(
                "Nobody answers at the endpoint.",
                where=self._url,
                why=_reason(error),
                fix="start the server, or correct --endpoint (as in http://localhost:8000/v1)",
            ) from error
        if told.status_code in (401, 403):
            raise self._refused(told)
        names = _names(told)
        if wanted is not None and (names is None or wanted in names):
            return wanted
        if wanted is None and names is not None and len(names) == 1:
            return names[0]
        raise ConfigError(
            f"The endpoint has no model {wanted!r}."
            if wanted
            else "The endpoint needs to be told which model.",
            where=self._url,
            why=f"it has {', '.join(names)}" if names else "it does not tell which ones it has",
            fix=f"--model {names[0] if names else 'NAME'}",
        )

    async def _complete_all(self, bodies: Sequence[dict[str, Any]]) -> list[Sample]:
        return list(await asyncio.gather(*map(self._complete, bodies)))

    async def _complete(self, body: dict[str, Any]) -> Sample:
        try:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception(_may_pass),
                stop=stop_after_attempt(_ATTEMPTS),
                wait=wait_random_exponential(max=20),
                reraise=True,
            ):
                with attempt:
                    told = await self._client.post(f"{self._url}/chat/completions", json=body)
                    told.raise_for_status()
                    return self._read(told)
        except httpx.HTTPStatusError as error:
            raise self._refused(error.response) from error
        except httpx.RequestError as error:
            raise RunFailed(
                "The endpoint does not answer.",
                where=self._url,
                why=f"{_ATTEMPTS} times: {_reason(error)}, with {self._timeout:g} seconds of patience",
                fix="see to the server and go on with --resume; if it only is slow, raise "
                "eval.endpoint_timeout or lower eval.batch_size",
            ) from error
        raise AssertionError("tenacity gives an answer or raises")

    def _read(self, told: httpx.Response) -> Sample:
        try:
            found = told.json()
            choice, usage = found["choices"][0], found["usage"]
            text = choice["message"]["content"] or ""
            ids = tuple(text.encode())
            counted = (int(usage["prompt_tokens"]), int(usage["completion_tokens"]))
            if counted[0] <= 0 or counted[1] < 0:
                raise ValueError(f"{counted} tokens were read and sampled")
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError) as error:
            raise RunFailed(
                "The endpoint's answer is no chat completion.",
                where=self._url,
                why=f"what it should hold cannot be read: {_reason(error)}",
                fix="give the address of an OpenAI-compatible server that tells its usage "
                "(choices[0].message, usage.prompt_tokens, usage.completion_tokens)",
            ) from error
        return Sample(ids, (), choice.get("finish_reason") != "length", counted)

    def _refused(self, told: httpx.Response) -> MissingError | RunFailed:
        if told.status_code in (401, 403):
            return MissingError(
                "The endpoint refuses the key.",
                where=self._url,
                why=f"status {told.status_code}",
                fix=f"put a valid key into the environment variable {API_KEY}",
            )
        may = (
            "; a prompt may not fit its context (lower team.agents.*.max_new_tokens, team.evidence_top_k or, "
            "of zero_shot, eval.zero_shot_max_new_tokens), or the address may be wrong"
        )
        return RunFailed(
            "The endpoint refuses a request." if told.is_client_error else "The endpoint fails.",
            where=self._url,
            why=f"status {told.status_code}{_code(told)}",
            fix=f"see the server's log{may if told.is_client_error else ', and go on with --resume'}",
        )


def _address(url: str) -> str:
    """Raises UsageError where it is none, or holds a password, which would be shown and kept."""
    try:
        parts = httpx.URL(url)
        sound = parts.scheme in ("http", "https") and parts.host and (parts.port or 1) < 2**16
    except httpx.InvalidURL:
        parts, sound = httpx.URL(""), False
    if not sound or parts.userinfo:
        raise UsageError(
            "--endpoint needs the address of a server, without a name or password in it.",
            why="" if parts.userinfo else f"{url!r} is none",
            fix=f"--endpoint http://localhost:8000/v1, with a key in the environment variable {API_KEY}",
        )
    return url.rstrip("/")


def _key() -> str:
    """Raises ConfigError where the key cannot be sent; a line break at its end is no part of it."""
    key = os.environ.get(API_KEY, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(
            "The endpoint's key cannot be sent.",
            where=f"environment {API_KEY}",
            why="it holds characters that no key has",
            fix="put the key, and nothing else, into it",
        )
    return key


def _told(prompt: tuple[int, ...]) -> list[Message]:
    """The talk that `encode_talk` made a prompt of."""
    return json.loads(bytes(prompt))


def _sampling(draw: np.random.Generator, temperature: float) -> dict[str, Any]:
    return {"temperature": temperature, "seed": int(draw.integers(2**31))}


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in _BUSY
    return isinstance(error, httpx.RequestError)


def _names(told: httpx.Response) -> list[str] | None:
    """The models of a server; None where it does not tell."""
    try:
        return [str(one["id"]) for one in told.json()["data"]] if told.is_success else None
    except (ValueError, KeyError, TypeError):
        return None


def _code(told: httpx.Response) -> str:
    """The error's code in one word; not its message, which may quote the prompt."""
    try:
        code = told.json()["error"]["code"]
    except (ValueError, KeyError, TypeError):
        return ""
    return f", {code}" if isinstance(code, str) and code.isidentifier() else ""


def _reason(error: Exception) -> str:
    return f"{type(error).__name__} {error}".strip()
