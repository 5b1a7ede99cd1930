"""What a job reads: its config as the container sees it, and the files and data that the config names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from maporl_cli.backends.sagemaker.paths import CHECKPOINTS, CONFIG_CHANNEL, SHIPPED, channel
from maporl_cli.core.channel import Channel
from maporl_cli.core.config import Config
from maporl_cli.core.errors import ConfigError, DataError
from maporl_cli.data.benchmarks import benchmark_names
from maporl_cli.data.s3 import place_of


@dataclass(frozen=True, slots=True)
class Questions:
    """A side's questions in S3.

    Attributes:
        uri: of the file.
        here: the file here, which has to be the same; None where the config names the address itself.
    """

    uri: str
    here: Path | None

    @property
    def name(self) -> str:
        """Of the file, in the job's channel too."""
        return self.uri.rpartition("/")[2]


@dataclass(slots=True)
class Inputs:
    """The inputs of a job.

    Attributes:
        config: with the container's paths.
        files: what lies in the channel `config` beside it: the name there, and the file here.
        notes: what else lies there, for those who ask the job later: the name there, and the text.
        data: the channels of questions that the job reads.
        here: what the container calls a file, and what it is called here.
    """

    config: Config
    files: dict[str, Path] = field(default_factory=dict[str, Path])
    notes: dict[str, str] = field(default_factory=dict[str, str])
    data: dict[Channel, Questions] = field(default_factory=dict[Channel, Questions])
    here: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def elsewhere(self) -> bool:
        """Whether there are questions that are only in S3."""
        return any(asked.here is None for asked in self.data.values())


def inputs_of(config: Config, uploaded: Mapping[str, str]) -> Inputs:
    """The inputs of a job that trains as `config` does here.

    Args:
        uploaded: the addresses of the channels that were uploaded from here.

    Raises:
        ConfigError: it names questions that were not uploaded, or a model that only this machine has.
        DataError: a file that it names is missing here.
    """
    found = Inputs(config)
    _refuse_local_models(config)
    changed = {
        "run": {
            "output_dir": CHECKPOINTS,
            "plugins": tuple(_ship(found, name, "run.plugins") for name in config.run.plugins),
        },
        "data": {side.value: _data(found, config, side, uploaded) for side in Channel},
        "team": {"evidence": _evidence(found, config.team.evidence)},
    }
    sections = {name: getattr(config, name).model_copy(update=values) for name, values in changed.items()}
    found.config = config.model_copy(update=sections)
    return found


def _data(found: Inputs, config: Config, side: Channel, uploaded: Mapping[str, str]) -> str | None:
    """A side's questions, as the container names them."""
    value: str | None = getattr(config.data, side.value)
    if value is None or value in benchmark_names():
        return value
    name = value.rpartition("/")[2]
    there = str(channel(side.value) / name)
    if value.startswith("s3://"):
        _refuse_no_object(value, side)
        found.data[side] = Questions(value, None)
        return there
    if not Path(value).is_file():
        raise DataError(
            "There is no such file.",
            where=f"{value} (data.{side})",
            why="a job trains only on what can be compared with what is here",
            fix=f"correct data.{side}, or give the file's address in S3",
        )
    if side.value not in uploaded:
        raise ConfigError(
            f"The job cannot read {value}: it is a file of this machine.",
            where=f"data.{side}",
            why=f"no channel {side} was uploaded from this folder",
            fix=f"maporl data upload {value} --channel {side} --bucket B",
        )
    found.data[side] = Questions(uploaded[side.value] + name, Path(value))
    found.here[there] = str(Path(value))
    return there


def _refuse_no_object(uri: str, side: Channel) -> None:
    bucket, key = place_of(uri)
    if not bucket or not key or key.endswith("/"):
        raise ConfigError(
            f"{uri} is no address of a file.",
            where=f"data.{side}",
            why="it names no object of a bucket, and a job reads one file of questions a side",
            fix=f"--set data.{side}=s3://BUCKET/KEY.jsonl",
        )


def _evidence(found: Inputs, value: str) -> str:
    return value if value in ("pool", "none") else _ship(found, value, "team.evidence")


def _ship(found: Inputs, told: str, key: str) -> str:
    """Put a file into the channel `config`; how the container names it."""
    path = Path(told)
    if not path.is_file():
        raise DataError("There is no such file.", where=f"{path} ({key})", fix=f"correct {key}")
    name = f"{SHIPPED}/{len(found.files)}-{path.name}"
    there = str(channel(CONFIG_CHANNEL) / name)
    found.files[name] = path
    found.here[there] = told
    return there


def _refuse_local_models(config: Config) -> None:
    named = {f"team.agents.{seat.name}.model": seat.model for seat in config.team.agents if seat.model}
    named |= {"model.name": config.model.name}
    if config.reward.similarity_model is not None:
        named["reward.similarity_model"] = config.reward.similarity_model
    for key, name in named.items():
        if Path(name).is_dir():
            raise ConfigError(
                f"The job cannot read {name}: it is a folder of this machine.",
                where=key,
                fix=f"push it to a hub, and give {key} its id there; or build it into an image of your own "
                "(sagemaker.image)",
            )
