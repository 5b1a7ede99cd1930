import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
from pathlib import Path
from maporl_cli.core.config import Config
from maporl_cli.core.errors import MissingError
from maporl_cli.monitoring.wandb_sink import WandbSink, refuse_without_key

mode, directory = sys.argv[1:]
config = Config.model_validate({"monitoring": {"wandb_mode": mode, "wandb_tags": ["spine-test"]}})
try:
    refuse_without_key(config.monitoring)
    sink = WandbSink(config, Path(directory))
    for step in (1, 2):
        sink.log(step, {"train:accuracy": step / 4, "planner:loss": 0.5})
    sink.close()
except MissingError as error:
    sys.exit(error.message)
print("wandb" in sys.modules)
"""


def record(mode: str, home: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, with an empty home and no key: W&B keeps a service and global state."""
    environ = {"HOME": str(home), "PATH": os.environ["PATH"], **more}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, mode, str(home / "runs" / "demo")],
        env=environ,
        cwd=Path(__file__).parents[2],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_offline_needs_no_key_and_writes_a_run(tmp_path: Path) -> None:
    done = record("offline", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "True\n"  # nothing of W&B's on stdout
    (kept,) = (tmp_path / "runs" / "demo" / "wandb").glob("offline-run-*/run-*.wandb")
    content = kept.read_bytes()
    for words in (b"train:accuracy", b"planner:loss", b"spine-test", b"group_size", b"maporl", b"demo"):
        assert words in content


def test_wandbs_own_environment_goes_before_the_config(tmp_path: Path) -> None:
    done = record("offline", tmp_path, WANDB_PROJECT="ward-project", WANDB_TAGS="from-outside,spot")
    assert done.returncode == 0, done.stderr
    (kept,) = (tmp_path / "runs" / "demo" / "wandb").glob("offline-run-*/run-*.wandb")
    content = kept.read_bytes()
    assert b"ward-project" in content
    assert b"from-outside" in content


def test_disabled_does_not_even_import_wandb(tmp_path: Path) -> None:
    done = record("disabled", tmp_path)
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr
    assert not (tmp_path / "runs").exists()


def test_online_without_a_key_says_what_to_do(tmp_path: Path) -> None:
    done = record("online", tmp_path)
    assert done.returncode == 1
    assert "Weights & Biases cannot be used." in done.stderr
    assert "wandb_mode=offline" in done.stderr
    assert "there is no API key" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()
