"""A SageMaker training container without Docker: the job's own entrypoint on a laid-out /opt/ml.

What SageMaker's agent does is done here: the channels of the job's request are downloaded from S3, its files
are written, checkpoints are copied back and forth, and what the job leaves is packed. What runs is what the
request says: the launcher that the SDK put into the job's channel, as process 1 of a PID namespace, with
/opt/ml a bind mount in a mount namespace of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from maporl_cli.data.s3 import place_of

ML = "/opt/ml"


class TrainingContainer:
    """One host of a job.

    Args:
        request: what CreateTrainingJob was asked for.
        s3: a client of the S3 that the request's addresses are in.
        home: an empty folder.
        gpus: that `nvidia-smi` tells of.
        hosts: of the job; this is the one at `index`.
    """

    def __init__(
        self, request: dict[str, Any], s3: Any, home: Path, *, gpus: int = 2, hosts: int = 1, index: int = 0
    ) -> None:
        refuse_without_namespaces()
        self._request, self._s3, self.ml = request, s3, home / "ml"
        self._home, self.gpus = home, gpus
        self._hosts = [f"algo-{number + 1}" for number in range(hosts)]
        self._host = self._hosts[index]
        for name in ("input/config", "input/data", "output/data", "model", "checkpoints"):
            (self.ml / name).mkdir(parents=True)
        for channel in request["InputDataConfig"]:
            source = channel["DataSource"]["S3DataSource"]
            self._download(source["S3Uri"], self.ml / "input" / "data" / channel["ChannelName"])
        self._download(request["CheckpointConfig"]["S3Uri"], self.ml / "checkpoints")
        self._write_config()

    def _write_config(self) -> None:
        resources = {
            "current_host": self._host,
            "current_instance_type": self._request["ResourceConfig"]["InstanceType"],
            "hosts": self._hosts,
            "network_interface_name": "lo",
        }
        channels = {
            one["ChannelName"]: {"TrainingInputMode": "File"} for one in self._request["InputDataConfig"]
        }
        files = {
            "resourceconfig": resources,
            "inputdataconfig": channels,
            "hyperparameters": self._request.get("HyperParameters", {}),
        }
        for name, content in files.items():
            (self.ml / "input" / "config" / f"{name}.json").write_text(json.dumps(content))

    def start(self, python: Path) -> None:
        """Run the job's entrypoint.

        Args:
            python: the folder of the image's python3 and pip3.
        """
        commands = self._home / "bin"
        commands.mkdir()
        listing = "\n".join(f"GPU {number}: NVIDIA A10G" for number in range(self.gpus))
        (commands / "nvidia-smi").write_text(f"#!/bin/sh\ncat <<'X'\n{listing}\nX\n")
        (commands / "nvidia-smi").chmod(0o755)
        specification = self._request["AlgorithmSpecification"]
        entry = [*specification["ContainerEntrypoint"], *specification["ContainerArguments"]]
        environment = {
            "PATH": f"{commands}:{python}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": str(self._home),
            "LANG": "C.UTF-8",
            "TRAINING_JOB_NAME": self._request["TrainingJobName"],
            "OMP_NUM_THREADS": "1",
            "PIP_NO_INDEX": "1",  # all that a job needs has to be there, or the test would hide what it loads
            **{name: value for name, value in os.environ.items() if name.startswith("AWS_")},
            **self._request.get("Environment", {}),
        }
        Path(ML).mkdir(parents=True, exist_ok=True)
        names = self._home / "hosts"
        addresses = {host: f"127.0.0.{number}" for number, host in enumerate(self._hosts, 1)}
        told = {"localhost": "127.0.0.1", socket.gethostname(): addresses[self._host], **addresses}
        names.write_text("".join(f"{address} {name}\n" for name, address in told.items()))
        script = f'mount --bind {self.ml} {ML} && mount --bind {names} /etc/hosts && exec "$@"'
        self.log = self._home / "output.txt"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", script, "sh", *entry],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def stop(self) -> None:
        """SIGTERM to process 1 of the container, as SageMaker sends it."""
        child = subprocess.run(
            ["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True, check=True
        ).stdout
        os.kill(int(child.split()[0]), signal.SIGTERM)

    def until(self, text: str, within: float = 120) -> None:
        """Wait for the job to print it."""
        deadline = time.monotonic() + within
        while text not in self.printed:
            assert self.process.poll() is None, self.printed[-4000:]
            assert time.monotonic() < deadline, self.printed[-4000:]
            time.sleep(0.1)

    def end(self, within: float = 240) -> int:
        """The exit code; what the job left is then in S3, as SageMaker would put it there."""
        try:
            code = self.process.wait(timeout=within)
        finally:
            self.kill()
        bucket, prefix = place_of(self._request["CheckpointConfig"]["S3Uri"])
        for file in sorted(one for one in (self.ml / "checkpoints").rglob("*") if one.is_file()):
            self._s3.upload_file(
                str(file), bucket, prefix + file.relative_to(self.ml / "checkpoints").as_posix()
            )
        bucket, prefix = place_of(self._request["OutputDataConfig"]["S3OutputPath"])
        for folder, name in (("model", "model.tar.gz"), ("output/data", "output.tar.gz")):
            if any((self.ml / folder).iterdir()):
                with tarfile.open(self._home / name, "w:gz") as packed:
                    packed.add(self.ml / folder, ".")
                key = f"{prefix}/{self._request['TrainingJobName']}/output/{name}"
                self._s3.upload_file(str(self._home / name), bucket, key)
        return code

    def kill(self) -> None:
        """Nothing of it may outlive the test: all others die with process 1."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    @property
    def printed(self) -> str:
        """All that the job printed so far."""
        return self.log.read_text(errors="replace")

    @property
    def failure(self) -> str:
        """What it wrote for SageMaker to show."""
        file = self.ml / "output" / "failure"
        return file.read_text() if file.exists() else ""

    def _download(self, uri: str, folder: Path) -> None:
        bucket, prefix = place_of(uri)
        folder.mkdir(parents=True, exist_ok=True)
        for one in self._s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", []):
            target = folder / one["Key"][len(prefix) :].lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            self._s3.download_file(bucket, one["Key"], str(target))


def image_python(home: Path) -> Path:
    """The folder of an image's python3 and pip3: it has all that maporl needs, torch too, and no maporl."""
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    packages = home / "packages"
    packages.mkdir()
    for item in Path(sysconfig.get_path("purelib")).iterdir():
        if "maporl" not in item.name and not item.name.startswith("pip"):
            (packages / item.name).symlink_to(item)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    own = home / "lib" / version / "site-packages"
    for old in own.glob("setuptools*"):  # older than torch's wants it, and found before the other
        shutil.rmtree(old)
    (own / "image.pth").write_text(f"{packages}\n")
    return home / "bin"


def refuse_without_namespaces() -> None:
    """Skips where a process may not make namespaces."""
    tried = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "true"]
    if shutil.which("unshare") is None or subprocess.run(tried, capture_output=True).returncode:
        pytest.skip("a training container needs mount and PID namespaces, which cannot be made here")
