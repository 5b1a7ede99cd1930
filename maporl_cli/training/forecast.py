"""What a step would take on ranks that are not at hand.

The rollout's schedule is played out with the rates of a run (`training.rates`). After it come the
reward, whose groups a replica's ranks share; the update, all agents at once; the sum of gradients over
the replicas; the results of all episodes, which rank 0 alone takes; and the exchanges between these.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from statistics import fmean

from maporl_cli.core.config import Config
from maporl_cli.core.errors import DataError
from maporl_cli.training.placement import Placement
from maporl_cli.training.rates import Rates
from maporl_cli.training.schedule import batches_of, play_out

_EXCHANGES = 6
"""Small collectives of all ranks in a step: whether one was stopped in its rollout, the rewards, whether
one was stopped before its update's first step, what each learned, the step's end, and whether to stop
after it."""


@dataclass(frozen=True, slots=True)
class Wires:
    """What is assumed of the ways between ranks: a run on one rank has none to measure.

    Attributes:
        letter: seconds from the end of a turn until another rank can go on from it: written, posted,
            fetched, read. Right for ranks on one host; between hosts their round trip comes on top.
        bandwidth: bytes a second that a rank can send while gradients are summed.
        exchange: seconds of a small collective.
    """

    letter: float = 0.003
    bandwidth: float = 1.25e9
    exchange: float = 0.002

    def summing(self, size: int, replicas: int) -> float:
        """Seconds to sum so many bytes over the replicas: in a ring, nearly everything is sent twice.

        (Patarasuk and Yuan 2009, "Bandwidth optimal all-reduce algorithms for clusters of workstations".)
        """
        return 2 * (replicas - 1) / replicas * size / self.bandwidth


WIRES = Wires()


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a step is predicted to take.

    Attributes:
        rollout, reward, update, summing, results, exchanges: seconds of its parts, one after the other.
        idle: the share of the rollout in which a rank's agents do not speak, mean over ranks.
        tokens: sampled by all agents of all replicas.
    """

    rollout: float
    reward: float
    update: float
    summing: float
    results: float
    exchanges: float
    idle: float
    tokens: float

    @property
    def seconds(self) -> float:
        """Of a whole step."""
        return self.rollout + self.reward + self.update + self.summing + self.results + self.exchanges


def forecast(
    config: Config,
    placement: Placement,
    rates: Rates,
    gradient: int = 0,
    wires: Wires = WIRES,
) -> Forecast:
    """Predict a step of the config's team on the placement's ranks.

    Args:
        gradient: bytes of the largest agent's, which its replicas sum while the others sum theirs.

    Raises:
        DataError: the rates are of another team.
    """
    unknown = [agent for agent in placement.agents if agent not in rates.turns]
    if unknown:
        raise DataError(
            f"The rates say nothing of the agent {unknown[0]!r}.",
            why=f"they were measured on {', '.join(rates.turns)}",
            fix="measure a run of the same team: maporl train --profile --set train.max_steps=4 "
            "--set eval.baselines=[]",
        )
    batches = batches_of(config, placement.replicas, config.rollout.microbatches)
    rounds = min(config.team.max_rounds_per_episode, len(rates.active))
    active = rates.active[:rounds]

    def seconds(batch: int, round: int, agent: str) -> float:
        return rates.turns[agent].of(batches[batch] * active[round])

    rollout, spoken = play_out(
        placement, len(batches), rounds, seconds, letter=wires.letter, handling=rates.handling
    )
    turns = sum(batches) * sum(active)  # of each agent in a replica
    groups = config.train.batch_size // placement.replicas
    return Forecast(
        rollout=rollout,
        reward=rates.reward * config.rollout.group_size * ceil(groups / len(spoken)),
        update=max(
            sum(
                rates.update[agent].of(turns * rates.learned[agent])
                for agent in place.agents
                if agent in learners(config) and agent in rates.update
            )
            for place in placement.replica(0)
        ),
        summing=wires.summing(gradient, placement.replicas),
        results=rates.results * sum(batches) * placement.replicas,
        exchanges=wires.exchange * _EXCHANGES if placement.world_size > 1 else 0.0,
        idle=1 - fmean(spoken.values()) / rollout,
        tokens=placement.replicas * turns * sum(rates.tokens[agent] for agent in placement.agents),
    )


def learners(config: Config) -> list[str]:
    """The agents that are trained."""
    return [seat.name for seat in config.team.agents if seat.trained]
