"""A page in headless Chromium, spoken to through its own debugging pipe: no driver, no port, no network."""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_FLAGS = (
    "--headless",
    "--no-sandbox",  # root has none, and the pages are our own
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--remote-debugging-pipe",
)
_PATIENCE = 60
"""Seconds for an answer: Chromium starts in one, on a busy machine in some."""

_MEASURE = """(() => {
  document.querySelectorAll('details').forEach(one => { one.open = OPEN; });
  const box = element => {
    const { left, top, right, bottom } = element.getBoundingClientRect();
    return [left, top, right, bottom];
  };
  const drawn = [...document.querySelectorAll('svg')].filter(svg => svg.checkVisibility());
  return {
    width: document.documentElement.scrollWidth,
    text: document.body.innerText,
    plots: drawn.map(svg => ({
      box: box(svg),
      marks: [...svg.querySelectorAll('g[id*="-mark_"]')].map(box),
      texts: [...svg.querySelectorAll('text')].map(text => {
        const { a, b } = text.getScreenCTM();
        const size = parseFloat(getComputedStyle(text).fontSize) * Math.hypot(a, b);
        return { words: text.textContent, box: box(text), size };
      }),
    })),
  };
})()"""


class Browser:
    """One running Chromium with one page.

    Attributes:
        errors: what the last page said on the console that is an error, what it refused, what it threw.
        asked_for: what the last page would fetch, beside itself.
    """

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back = to, back
        self._unread, self._number, self._session = b"", 0, ""
        self._loaded = False
        self.errors: list[str] = []
        self.asked_for: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def see(self, page: Path, width: int, *, unfolded: bool = False) -> dict[str, Any]:
        """Open the page in a window of that many pixels.

        Args:
            unfolded: with all `<details>` open.

        Returns:
            `width` of all that is on it, its visible `text`, and its visible `plots`: the `box` (left,
            top, right, bottom) of each, of its `marks`, and of its `texts` beside their `words` and `size`
            in pixels.
        """
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
        )
        self.errors, self.asked_for, self._loaded = [], [], False
        self._call("Page.navigate", url=page.resolve().as_uri())
        while not self._loaded:
            self._hear()
        script = _MEASURE.replace("OPEN", "true" if unfolded else "false")
        seen = self._call("Runtime.evaluate", expression=script, returnByValue=True)["result"]["value"]
        self.asked_for = [url for url in self.asked_for if url != page.resolve().as_uri()]
        return seen

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        number = self._number
        session = {"sessionId": self._session} if self._session else {}
        message = json.dumps({"id": number, "method": method, "params": params, **session})
        os.write(self._to, message.encode() + b"\0")
        while True:
            told = self._hear()
            if told.get("id") == number:
                assert "error" not in told, told
                return told["result"]

    def _hear(self) -> dict[str, Any]:
        until = time.monotonic() + _PATIENCE
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._back], [], [], max(0.0, until - time.monotonic()))
            assert ready, f"Chromium said nothing for {_PATIENCE} s"
            read = os.read(self._back, 1 << 16)
            assert read, "Chromium ended"
            self._unread += read
        message, _, self._unread = self._unread.partition(b"\0")
        told = json.loads(message)
        self._note(told.get("method", ""), told.get("params", {}))
        return told

    def _note(self, event: str, params: dict[str, Any]) -> None:
        if event == "Page.loadEventFired":
            self._loaded = True
        elif event == "Network.requestWillBeSent":
            self.asked_for.append(params["request"]["url"])
        elif event == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(params["entry"]["text"])
        elif event == "Runtime.consoleAPICalled" and params["type"] == "error":
            self.errors.append(str(params["args"]))
        elif event == "Runtime.exceptionThrown":
            self.errors.append(params["exceptionDetails"]["text"])


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """A browser with a fresh profile in that folder; without Chromium the test skips."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip("needs Chromium to look at a page: make browser")
    pipes = [*os.pipe(), *os.pipe()]
    # Chromium reads file 3 and writes file 4, so none of ours may be in their place.
    theirs_read, to, back, theirs_write = ends = [
        fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in pipes
    ]
    for end in pipes:
        os.close(end)
    process = subprocess.Popen(
        [
            *("bash", "-c", f'exec "$@" 3<&{theirs_read} 4>&{theirs_write}', "bash"),
            *(found, *_FLAGS, f"--user-data-dir={profile}"),
        ],
        pass_fds=(theirs_read, theirs_write),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for end in (theirs_read, theirs_write):
            os.close(end)
            ends.remove(end)
        yield Browser(to, back)
    finally:
        for end in ends:
            os.close(end)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
