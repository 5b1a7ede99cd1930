"""Whatever stops a write, a reader finds the old content or the new, and never a part."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maporl_cli.core import atomic
from maporl_cli.core.atomic import append_line, atomic_dir, atomic_write, clean, discard, disk_error
from maporl_cli.core.errors import ConfigError, MissingError, RunFailed


def failing(code: int, after: int = 0):
    """A function that raises the disk error `code` from its call number `after` on."""
    calls = []

    def fail(*arguments, **named):
        calls.append(arguments)
        if len(calls) > after:
            raise OSError(code, os.strerror(code))

    return fail


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def dead_process() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


class TestAtomicWrite:
    @settings(max_examples=30)
    @given(st.one_of(st.text(), st.binary()))
    def test_what_is_written_is_read(self, tmp_path_factory, data):
        path = tmp_path_factory.mktemp("write") / "deep" / "file"
        atomic_write(path, data)
        assert path.read_bytes() == (data if isinstance(data, bytes) else data.encode())
        assert names(path.parent) == ["file"]

    @pytest.mark.parametrize("step", ["fsync", "replace"])
    @pytest.mark.parametrize(
        ("code", "kind"),
        [
            (errno.ENOSPC, RunFailed),
            (errno.EDQUOT, RunFailed),
            (errno.EROFS, MissingError),
            (errno.EACCES, MissingError),
            (errno.EIO, OSError),
        ],
    )
    def test_a_failure_leaves_the_old_content_and_no_litter(self, step, code, kind, tmp_path, monkeypatch):
        path = tmp_path / "file"
        path.write_text("old")
        owner = os if step == "fsync" else Path
        monkeypatch.setattr(owner, step, failing(code))
        with pytest.raises(kind) as error:
            atomic_write(path, "new")
        assert path.read_text() == "old"
        assert names(tmp_path) == ["file"]
        if kind is not OSError:
            assert str(path) in error.value.what
            assert error.value.fix

    def test_the_content_is_on_disk_before_it_gets_its_name(self, tmp_path, monkeypatch):
        order = []
        fsync, replace = os.fsync, Path.replace
        monkeypatch.setattr(os, "fsync", lambda descriptor: (order.append("sync"), fsync(descriptor))[1])
        monkeypatch.setattr(Path, "replace", lambda self, to: (order.append("name"), replace(self, to))[1])
        atomic_write(tmp_path / "file", "new")
        assert order == ["sync", "name", "sync"]  # the content, the name, the directory

    def test_a_full_disk(self):
        if not Path("/dev/full").exists():
            pytest.skip("needs /dev/full")
        with pytest.raises(RunFailed, match="no room left"), atomic.disk_errors(Path("x")):
            Path("/dev/full").write_text("x")

    def test_a_file_where_a_directory_should_be(self, tmp_path):
        (tmp_path / "runs").write_text("")
        with pytest.raises(ConfigError, match="is a file"):
            atomic_write(tmp_path / "runs" / "demo" / "config.yaml", "x")


class TestDiskError:
    @pytest.mark.parametrize(
        "error",
        [
            RuntimeError(
                "[enforce fail at inline_container.cc:815] . PytorchStreamWriter failed writing file data/0"
            ),
            ValueError('Error while serializing: I/O error: "No space left on device (os error 28)"'),
        ],
    )
    def test_libraries_that_raise_no_oserror_are_understood(self, error):
        told = disk_error(error, "x")
        assert isinstance(told, RunFailed)
        assert told.exit_code == 1

    @pytest.mark.parametrize(
        "error", [ValueError("no"), OSError(errno.EIO, "i/o"), FileNotFoundError(2, "none")]
    )
    def test_other_errors_are_not_explained_away(self, error):
        assert disk_error(error, "x") is None
        with pytest.raises(type(error)), atomic.disk_errors(Path("x")):
            raise error

    def test_an_error_that_was_told_passes_through_as_it_is(self):
        told = ConfigError("No space left on device, says the user", fix="x")
        with pytest.raises(ConfigError) as error, atomic.disk_errors(Path("x")):
            raise told
        assert error.value is told


class TestAtomicDir:
    def fill(self, path: Path, content: str) -> None:
        with atomic_dir(path) as building:
            (building / "sub").mkdir()
            (building / "sub" / "file").write_text(content)

    def test_it_appears_whole(self, tmp_path):
        path = tmp_path / "checkpoints" / "step_1"
        with atomic_dir(path) as building:
            (building / "file").write_text("x")
            assert not path.exists()
        assert (path / "file").read_text() == "x"
        assert names(path.parent) == ["step_1"]

    def test_it_replaces(self, tmp_path):
        self.fill(tmp_path / "model", "old")
        self.fill(tmp_path / "model", "new")
        assert (tmp_path / "model" / "sub" / "file").read_text() == "new"
        assert names(tmp_path) == ["model"]

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
    def test_a_block_that_raises_leaves_the_old_one(self, error, tmp_path):
        self.fill(tmp_path / "model", "old")
        with pytest.raises(error), atomic_dir(tmp_path / "model") as building:  # noqa: PT012 the block is the test
            (building / "half").write_text("x")
            raise error
        assert (tmp_path / "model" / "sub" / "file").read_text() == "old"
        assert names(tmp_path) == ["model"]

    @pytest.mark.parametrize("after", [0, 1, 2])
    def test_a_full_disk_while_syncing_leaves_the_old_one(self, after, tmp_path, monkeypatch):
        self.fill(tmp_path / "model", "old")
        monkeypatch.setattr(os, "fsync", failing(errno.ENOSPC, after))
        with pytest.raises(RunFailed):
            self.fill(tmp_path / "model", "new")
        assert (tmp_path / "model" / "sub" / "file").read_text() == "old"
        assert names(tmp_path) == ["model"]

    def test_a_rename_that_fails_puts_the_old_one_back(self, tmp_path, monkeypatch):
        self.fill(tmp_path / "model", "old")
        rename = Path.rename

        def only_aside(self, target):
            if ".new-" in self.name:
                raise OSError(errno.EROFS, "read-only")
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", only_aside)
        with pytest.raises(MissingError):
            self.fill(tmp_path / "model", "new")
        assert (tmp_path / "model" / "sub" / "file").read_text() == "old"
        assert names(tmp_path) == ["model"]

    def test_every_file_and_folder_is_synced_before_the_name(self, tmp_path, monkeypatch):
        synced, fsync = [], os.fsync

        def record(descriptor):
            synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
            fsync(descriptor)

        if not Path("/proc/self/fd").is_dir():
            pytest.skip("needs /proc to see which file is synced")
        monkeypatch.setattr(os, "fsync", record)
        self.fill(tmp_path / "model", "x")
        assert {"file", "sub"} <= set(synced)
        assert synced[-1] == tmp_path.name
        assert any(name.endswith(".model") for name in synced)


class TestAppendLine:
    @settings(max_examples=30)
    @given(st.lists(st.text(st.characters(blacklist_characters="\n\r", blacklist_categories=("Cs",)))))
    def test_lines_are_kept_in_order(self, tmp_path_factory, lines):
        path = tmp_path_factory.mktemp("append") / "deep" / "metrics.jsonl"
        for line in lines:
            append_line(path, line)
        if lines:
            assert path.read_bytes().decode().split("\n") == [*lines, ""]

    @pytest.mark.parametrize("size", [1, 65535, 65536, 65537, 200_000])
    @pytest.mark.parametrize("before", ["", "one\n", "one\ntwo\n"])
    def test_a_line_that_was_cut_short_is_dropped(self, size, before, tmp_path):
        path = tmp_path / "metrics.jsonl"
        path.write_text(before + "x" * size)
        append_line(path, "new")
        assert path.read_text() == before + "new\n"

    def test_a_disk_that_fills_on_the_way_leaves_whole_lines(self, tmp_path, monkeypatch):
        path = tmp_path / "metrics.jsonl"
        append_line(path, "one")
        pwrite = os.pwrite
        monkeypatch.setattr(os, "pwrite", lambda descriptor, data, at: pwrite(descriptor, data[:2], at))
        with pytest.raises(RunFailed):
            append_line(path, "two")
        assert path.read_text() == "one\n"


class TestClean:
    def test_it_removes_what_the_dead_left_and_nothing_else(self, tmp_path):
        dead = dead_process()
        deep = tmp_path / "checkpoints"
        for name in (f".new-{dead}-0123abcd.config.yaml", ".hidden", "config.yaml"):
            (tmp_path / name).write_text("x")
        (deep / f".new-{dead}-0123abcd.step_1" / "agents").mkdir(parents=True)
        (deep / f".gone-{dead}-0123abcd.step_0").mkdir()
        (deep / "step_2").mkdir()
        clean(tmp_path)
        assert names(tmp_path) == [".hidden", "checkpoints", "config.yaml"]
        assert names(deep) == ["step_2"]

    def test_shallow_looks_at_no_folder_below(self, tmp_path):
        below = tmp_path / "run" / f".new-{dead_process()}-0123abcd.x"
        below.mkdir(parents=True)
        clean(tmp_path, deep=False)
        assert below.exists()

    def test_a_replacement_cut_between_its_renames_is_undone(self, tmp_path):
        aside = tmp_path / f".old-{dead_process()}-0123abcd.model"
        aside.mkdir()
        (aside / "file").write_text("old")
        clean(tmp_path)
        assert (tmp_path / "model" / "file").read_text() == "old"
        assert names(tmp_path) == ["model"]

    def test_a_replacement_cut_after_its_renames_keeps_the_new_one(self, tmp_path):
        aside, place = tmp_path / f".old-{dead_process()}-0123abcd.model", tmp_path / "model"
        for folder, content in ((aside, "old"), (place, "new")):
            folder.mkdir()
            (folder / "file").write_text(content)
        clean(tmp_path)
        assert (place / "file").read_text() == "new"
        assert names(tmp_path) == ["model"]

    def test_what_a_living_process_writes_is_left_alone(self, tmp_path):
        name = f".new-{os.getppid()}-0123abcd.file"
        (tmp_path / name).write_text("x")
        clean(tmp_path)
        assert names(tmp_path) == [name]

    def test_its_own_number_is_a_leftover_from_an_earlier_life(self, tmp_path):
        (tmp_path / f".new-{os.getpid()}-0123abcd.file").write_text("x")
        clean(tmp_path)
        assert names(tmp_path) == []


def test_discard_never_shows_half_a_directory(tmp_path, monkeypatch):
    path = tmp_path / "step_1"
    path.mkdir()
    (path / "file").write_text("x")
    monkeypatch.setattr(atomic.shutil, "rmtree", failing(errno.EIO))
    with pytest.raises(OSError, match="error"):
        discard(path)
    assert not path.exists()
    monkeypatch.undo()
    clean(tmp_path)
    assert names(tmp_path) == []


KILLED = """
import sys
from pathlib import Path
from maporl_cli.core.atomic import atomic_dir, atomic_write
folder = Path(sys.argv[1])
print("ready", flush=True)
for number in range(1_000_000):
    atomic_write(folder / "file", f"{number:07d}" * 2000)
    with atomic_dir(folder / "model") as building:
        for part in "ab":
            (building / part).write_text(f"{number:07d}")
"""


@pytest.mark.parametrize("delay", [0.0, 0.013, 0.031, 0.07])
def test_kill_leaves_whole_files(delay, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.05 + delay)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    clean(tmp_path)
    assert set(names(tmp_path)) <= {"file", "model"}
    if (tmp_path / "file").exists():
        content = (tmp_path / "file").read_text()
        assert content == content[:7] * 2000
    if (tmp_path / "model").exists():
        assert (tmp_path / "model" / "a").read_text() == (tmp_path / "model" / "b").read_text()
