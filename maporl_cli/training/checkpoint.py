"""Checkpoints: written whole or not at all, and checked before they are believed.

`checkpoints/step_000010/` holds `agents/<agent>/weights.safetensors` of every agent, `state.pt`
beside it for those that learn, the same of the reward's verifier in `verifier/` where there is one,
`trainer.json` and, written last, `manifest.json` with the size and SHA-256 of every file. The
directory gets its name by a rename after everything in it is on disk. What a run needs
beside these is keyed by its seed and the step, so there is no random state and no data cursor
to store (`core.randomness`, `training.questions`).

Only rank 0 reads and writes them; the other ranks hand their agents over to it and get them from
it. So a checkpoint says nothing of how many ranks there were, and any number can go on from it.
"""

# torch, safetensors and transformers leave parts of their signatures untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import hashlib
import io
import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load, load_file, save
from torch import Tensor, nn

from maporl_cli.agents.policy import Policy
from maporl_cli.core.atomic import atomic_dir, atomic_write, discard
from maporl_cli.core.config import VERIFIER
from maporl_cli.core.errors import ConfigError, RunFailed
from maporl_cli.training.ranks import Files, Ranks
from maporl_cli.training.update import Learner
from maporl_cli.training.verifier import Verifier

_MANIFEST = "manifest.json"
_WEIGHTS = "weights.safetensors"
_STATE = "state.pt"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come.

    Attributes:
        step: the last finished step; 0 before the first.
        tokens: prompt and sampled tokens of all turns so far, and what credit took to measure.
        seconds: training time so far, over all sittings, a cold start included and evaluations not.
    """

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0

    def after(self, metrics: Mapping[str, float], seconds: float) -> Progress:
        """One step later; `metrics` are the step's, `seconds` its time."""
        tokens = self.tokens + int(metrics.get("train:tokens", 0) + metrics.get("credit:tokens", 0))
        return Progress(self.step + 1, tokens, self.seconds + seconds)


class Checkpoints:
    """The checkpoints of one run.

    Args:
        directory: the run's `checkpoints/`.
        keep: how many of the newest are kept, beside the first.
        reach: how many steps late it may be noticed that training went wrong. So one that is older is kept
            as well, and the one that will take its place.
    """

    def __init__(self, directory: Path, *, keep: int, reach: int = 0) -> None:
        self._directory = directory
        self._keep = keep
        self._reach = reach
        self._first = directory / "step_000000"

    def save(
        self,
        progress: Progress,
        policies: Mapping[str, Policy],
        learners: Sequence[Learner],
        ranks: Ranks,
        verifier: Verifier | None = None,
    ) -> Path:
        """Write the checkpoint of `progress.step`; older ones beyond `keep` are removed afterwards.

        Args:
            policies, learners: this rank's own.
            verifier: the reward's, on every rank, where it has one.
        """
        target = self._directory / f"step_{progress.step:06d}"
        states = {learner.agent: learner for learner in learners}
        if not ranks.broadcast(ranks.rank == 0 and _is_whole(target), "whether a checkpoint is there"):
            # One after the other as they are asked for, so that rank 0 never has all agents in memory.
            handed_over = _handed_over(policies, states, verifier, ranks)
            if ranks.rank == 0:
                self._write(target, progress, handed_over)
            else:
                deque(handed_over, maxlen=0)
        if ranks.rank == 0:
            self._name_latest(target)
        return target

    @staticmethod
    def _write(target: Path, progress: Progress, learned: Iterable[tuple[str, Files]]) -> None:
        with atomic_dir(target) as draft:
            for folder, files in learned:
                home = draft / folder
                home.mkdir(parents=True)
                for name, content in files.items():
                    (home / name).write_bytes(content)
            (draft / "trainer.json").write_text(json.dumps(asdict(progress)))
            (draft / _MANIFEST).write_text(json.dumps({"files": _digests(draft)}, indent=1))

    def _name_latest(self, target: Path) -> None:
        atomic_write(self._directory / "latest", target.name)
        # What is newer than the checkpoint just written was passed over as damaged when the run went on.
        written = self._newest_first()
        there = written[written.index(target) :]
        kept = {self._first, *there[: self._keep], *self._good(there)}
        for path in written:
            if path not in kept:
                discard(path)

    def _good(self, newest_first: Sequence[Path]) -> Sequence[Path]:
        newest, oldest = _step(newest_first[0]), len(newest_first) - 1
        old = (n for n, path in enumerate(newest_first) if _step(path) <= newest - self._reach)
        place = next(old, oldest)
        return newest_first[max(0, place - 1) : place + 1]

    def latest(self) -> Path | None:
        """The newest checkpoint that is whole; damaged ones are passed over. None before the first.

        Raises:
            RunFailed: there are checkpoints, and none is whole.
        """
        there = self._newest_first()
        whole = next((path for path in there if _is_whole(path)), None)
        if there and whole is None:
            raise RunFailed(
                "No checkpoint of the run is whole.",
                where=", ".join(str(path) for path in there),
                why="files in them are missing or changed",
                fix="put one back from a copy, or start the run again with --overwrite",
            )
        return whole

    def before(self, step: int) -> Path | None:
        """The newest whole checkpoint of an earlier step; None where there is none."""
        return next((path for path in self._newest_first() if _step(path) < step and _is_whole(path)), None)

    def start(self) -> Path:
        """The checkpoint of step 0, of the team before training.

        Raises:
            RunFailed: it is gone or damaged, and what is measured from it cannot be made up for.
        """
        if not _is_whole(self._first):
            raise RunFailed(
                "The checkpoint of the team before training is not whole.",
                where=str(self._first),
                why="files of it are missing or changed",
                fix="put it back from a copy, or start the run again with --overwrite",
            )
        return self._first

    def _newest_first(self) -> list[Path]:
        return sorted(self._directory.glob("step_[0-9]*"), key=_step, reverse=True)


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step_"))


def load_checkpoint(
    path: Path | None,
    policies: Mapping[str, Policy],
    learners: Sequence[Learner],
    ranks: Ranks,
    verifier: Verifier | None = None,
) -> Progress:
    """Put the state of a checkpoint into this rank's policies and learners, and the reward's verifier.

    Args:
        path: the checkpoint, on rank 0; the others need not see it.
    """
    states = {learner.agent: learner for learner in learners}
    for agent, files in _handed_out(path, ranks):
        copy_weights(load(files[_WEIGHTS]), policies[agent])
        if agent in states:
            states[agent].load_state(_state(files))
    if verifier is not None and (files := ranks.hand_out(verifier.beside, lambda _: _read(path, VERIFIER))):
        copy_weights(load(files[_WEIGHTS]), verifier)
        verifier.load_state(_state(files))
    told: dict[str, Any] = {} if path is None else json.loads((path / "trainer.json").read_text())
    return Progress(**ranks.broadcast(told, "how far the checkpoint is"))


def load_weights(path: Path | None, policies: Mapping[str, Policy], ranks: Ranks) -> None:
    """Put the weights of a checkpoint into this rank's policies; `path` as in `load_checkpoint`."""
    for agent, files in _handed_out(path, ranks):
        copy_weights(load(files[_WEIGHTS]), policies[agent])


def _handed_out(path: Path | None, ranks: Ranks) -> Iterator[tuple[str, Files]]:
    """The files of each agent that this rank holds."""
    for agent in ranks.placement.agents:
        files = ranks.hand_out(agent, lambda agent: _read(path, f"agents/{agent}"))
        if files:
            yield agent, files


def _read(path: Path | None, folder: str) -> Files:
    assert path is not None, "rank 0 knows the checkpoint"
    return {file.name: file.read_bytes() for file in (path / folder).iterdir()}


def _state(files: Files) -> dict[str, Any]:
    # To the CPU first: it may have been saved on a GPU that this rank does not have.
    return torch.load(io.BytesIO(files[_STATE]), map_location="cpu", weights_only=True)


def _handed_over(
    policies: Mapping[str, Policy],
    learners: Mapping[str, Learner],
    verifier: Verifier | None,
    ranks: Ranks,
) -> Iterator[tuple[str, Files]]:
    """What a checkpoint keeps, by its folder, one after the other; on other ranks than 0 nothing."""
    for agent in ranks.placement.agents:
        yield (
            f"agents/{agent}",
            ranks.hand_over(agent, lambda agent: _files(policies[agent], learners.get(agent))),
        )
    if verifier is not None:
        yield VERIFIER, ranks.hand_over(verifier.beside, lambda _: _files(verifier, verifier))


def _files(weighted: Weighted, learner: Learner | Verifier | None) -> Files:
    """What a checkpoint keeps of an agent, or of the verifier."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in weighted.trainable().items()}
    files = {_WEIGHTS: save(weights)}
    if learner is not None:
        state = io.BytesIO()
        torch.save(learner.state(), state)
        files[_STATE] = state.getvalue()
    return files


def read_weights(checkpoint: Path, agent: str) -> dict[str, Tensor]:
    """The weights that a checkpoint holds of one agent, by parameter name."""
    return load_file(checkpoint / "agents" / agent / _WEIGHTS)


class Weighted(Protocol):
    """Whatever has parameters that learn, by name: a policy, the verifier."""

    def trainable(self) -> Mapping[str, nn.Parameter]: ...


def copy_weights(weights: Mapping[str, Tensor], policy: Weighted) -> None:
    """Overwrite a policy's parameters, by name.

    Raises:
        ConfigError: names or shapes differ; nothing is overwritten.
    """
    learning = policy.trainable()
    unlike = [
        name
        for name in dict.fromkeys([*learning, *weights])
        if name not in learning or name not in weights or learning[name].shape != weights[name].shape
    ]
    if unlike:
        raise ConfigError(
            "The weights do not fit the policy.",
            where=unlike[0],
            why=f"{len(unlike)} of {len(learning)} tensors have another name or shape",
            fix="leave model.* and team.agents as the run that made the weights has them",
        )
    with torch.no_grad():
        for name, parameter in learning.items():
            parameter.copy_(weights[name])


def _digests(directory: Path) -> dict[str, dict[str, Any]]:
    return {
        str(path.relative_to(directory)): {"bytes": path.stat().st_size, "sha256": _sha256(path)}
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != _MANIFEST
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_whole(path: Path) -> bool:
    """Whether the directory holds exactly what its manifest says."""
    try:
        promised = json.loads((path / _MANIFEST).read_text())["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(promised) and promised == _digests(path)
