"""The part of a plan that says how long a step takes and what a training costs, from a run's rates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from maporl_cli.cli.plan import WIDTH

if TYPE_CHECKING:
    from maporl_cli.core.config import Config
    from maporl_cli.core.run_dir import RunDir
    from maporl_cli.training.placement import Placement


@dataclass(frozen=True, slots=True)
class Measured:
    """What a forecast starts from.

    Attributes:
        run: the directory of a run with `--profile`.
        price: dollars that a rank costs an hour.
    """

    run: Path
    price: float | None = None


def time_part(
    config: Config, placement: Placement, steps: int, measured: Measured, memory: Mapping[str, Any]
) -> Mapping[str, Any]:
    """A step's seconds, what of them ranks wait, and what `steps` of them cost.

    Args:
        memory: what the plan knows of each rank's; nothing of gradients where a model is not here.

    Raises:
        ConfigError: there is no such run, or the config samples combs.
        DataError: it has no profile, or is of another team.
    """
    from maporl_cli.cli.plan_cautions import cautions
    from maporl_cli.core.errors import ConfigError
    from maporl_cli.core.run_dir import RunDir
    from maporl_cli.training.forecast import WIRES, forecast
    from maporl_cli.training.rates import Rates

    if config.rollout.sampling == "comb":
        raise ConfigError(
            "How long a step of combs takes is not predicted.",
            where="rollout.sampling=comb",
            why="most of its episodes begin in the middle, and a forecast plays whole ones",
            fix="leave --rates out, or plan with --set rollout.sampling=chain",
        )
    run = RunDir.existing(measured.run)
    rates = Rates.measured(run.profile)
    gradient = max((rank["step"] for rank in memory.get("ranks", ())), default=0)
    told = forecast(config, placement, rates, gradient)
    rank_hours = told.seconds * placement.world_size * steps / 3600
    return {
        "run": str(measured.run),
        "measured_on": _measured_on(run),
        "measured_steps": rates.steps,
        "tokens_per_turn": fmean(rates.tokens[agent] for agent in placement.agents),
        "seconds": told.seconds,
        **asdict(told),
        "tokens_per_second": told.tokens / told.seconds,
        "training_seconds": told.seconds * steps,
        "rank_hours": rank_hours,
        "dollars": None if measured.price is None else rank_hours * measured.price,
        "assumed": asdict(WIRES),
        "cautions": list(cautions(config, run, placement, rates, gradient)),
    }


def _measured_on(run: RunDir) -> str:
    """The ranks that the rates were measured on, as far as the run's manifest says."""
    from maporl_cli.cli.plan_cautions import ranks_of

    ranks = ranks_of(run)
    if not ranks:
        return ""
    kinds = sorted({f"{rank['device']}, {rank['threads']} threads each" for rank in ranks})
    return f" on {len(ranks)} rank{'' if len(ranks) == 1 else 's'} ({'; '.join(kinds)})"


def time_lines(
    part: Mapping[str, Any] | None, placement: Mapping[str, Any], batch: Mapping[str, Any]
) -> Iterator[str]:
    """The forecast in sentences, or how to get one."""
    if batch["sampling"] == "comb":
        yield "How long a step takes is not predicted for combs"
        return
    if part is None:
        yield "How long a step takes can be told from a run with --profile: --rates runs/NAME"
        return
    from maporl_cli.monitoring.console import duration

    pieces = [f"rollout {_seconds(part['rollout'])}"]
    if placement["world_size"] > 1:
        pieces[0] += f" (ranks wait {part['idle']:.0%})"
    names = {"reward": "reward", "update": "update", "summing": "sum of gradients", "results": "results"}
    names |= {"exchanges": "exchanges"}
    pieces += [f"{name} {_seconds(part[key])}" for key, name in names.items() if part[key] >= 0.0005]
    cost = f"{part['rank_hours']:,.2f} rank-hours"
    if part["dollars"] is not None:
        cost += f", ${part['dollars']:,.2f}"
    sentences = [
        f"Predicted from {part['measured_steps']} steps of {part['run']}{part['measured_on']}, with "
        f"{part['tokens_per_turn']:.1f} tokens a turn: a step takes {_seconds(part['seconds'])} "
        f"({', '.join(pieces)}), {part['tokens_per_second']:,.0f} sampled tokens/s. All steps take "
        f"{duration(part['training_seconds'])} and {cost}; evaluations and checkpoints come on top.",
        *(f"Caution: {caution}." for caution in part["cautions"]),
    ]
    if placement["world_size"] > 1:
        assumed = part["assumed"]
        sentences.append(
            f"Assumed: a turn reaches another rank in {1000 * assumed['letter']:.0f} ms, an exchange "
            f"of all ranks takes {1000 * assumed['exchange']:.0f} ms, a rank sends "
            f"{assumed['bandwidth'] / 1e9:.2f} GB/s of gradients."
        )
    for sentence in sentences:
        yield from wrap(sentence, WIDTH, break_on_hyphens=False, break_long_words=False)


def _seconds(value: float) -> str:
    return f"{value:.3g} s"
