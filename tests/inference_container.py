"""An endpoint's container without Docker: the inference toolkit's own start, on a laid-out /opt/ml.

What runs is what an image runs: the toolkit installs the model's requirements, and starts the model server,
whose worker has the toolkit's service call the functions in the model's `code/inference.py`. /opt/ml is a
bind mount, and process 1 the toolkit's, in namespaces of its own.

One name is given back to transformers, which lost it in version 5: the toolkit's last release asks by it
whether there is TensorFlow.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx
from training_container import image_python, refuse_without_namespaces

_ROOT = Path(__file__).parents[1]
_TOOLKIT = """
import transformers.file_utils
transformers.file_utils.is_tf_available = lambda: False
"""
_SERVICE = f"""{_TOOLKIT}
from sagemaker_huggingface_inference_toolkit.handler_service import HuggingFaceHandlerService

class Service(HuggingFaceHandlerService):
    "The toolkit's own: the model server looks for a class of the module that it is told."
"""
_START = f"""{_TOOLKIT}
from sagemaker_huggingface_inference_toolkit.mms_model_server import start_model_server
start_model_server("toolkit_service")
"""
_DELIVER = """
from pathlib import Path
from maporl_cli.backends.sagemaker.delivery import deliver
from maporl_cli.core.run_dir import RunDir
deliver(RunDir(Path("/opt/ml/checkpoints/run")), range(1))
"""


def _free_port() -> int:
    """One of those that the model server takes: below 32767, where the system itself gives none."""
    for port in range(20_000, 20_100):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no port is free")


class ModelServer:
    """An endpoint that serves what a job leaves.

    Args:
        home: a folder with `ml/checkpoints/run`, a finished run, and `ml/input/data/code`, its job's code.
    """

    def __init__(self, home: Path) -> None:
        refuse_without_namespaces()
        python = image_python(home / "image")
        for name, text in (("toolkit_service.py", _SERVICE), ("start.py", _START), ("deliver.py", _DELIVER)):
            (home / name).write_text(text)
        port = _free_port()
        self.address = f"http://127.0.0.1:{port}"
        environment = {
            "PATH": f"{python}:{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(home),
            "OMP_NUM_THREADS": "1",
            "PIP_NO_INDEX": "1",  # what the model needs beside its wheel is in the image
            "SAGEMAKER_BIND_TO_PORT": str(port),
            "SAGEMAKER_MODEL_SERVER_WORKERS": "1",
        }
        script = (
            # The toolkit writes the server's settings there.
            f"cp -a /etc {home}/etc && mount --bind {home}/etc /etc && mount --bind {home}/ml /opt/ml && "
            f"PYTHONPATH={_ROOT} {sys.executable} deliver.py && exec python start.py"
        )
        Path("/opt/ml").mkdir(parents=True, exist_ok=True)
        self._log = home / "output.txt"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", script],
                cwd=home,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def printed(self) -> str:
        """All that it printed so far."""
        return self._log.read_text(errors="replace")

    def until_healthy(self, within: float = 240) -> None:
        """Wait for its worker to have loaded the model."""
        deadline = time.monotonic() + within
        while not self._is_healthy():
            assert self.process.poll() is None, self.printed[-6000:]
            assert time.monotonic() < deadline, self.printed[-6000:]
            time.sleep(0.5)

    def _is_healthy(self) -> bool:
        try:
            return httpx.get(f"{self.address}/ping").status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> int:
        """SIGTERM to process 1, as SageMaker sends it; the exit code."""
        told = ["pgrep", "-P", str(self.process.pid)]
        child = subprocess.run(told, capture_output=True, text=True, check=True).stdout
        os.kill(int(child.split()[0]), signal.SIGTERM)
        return self.process.wait(60)

    def kill(self) -> None:
        """Nothing of it may outlive the test: all others die with process 1."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
