"""What an evaluation is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError

from maporl_cli.core.errors import UsageError
from maporl_cli.core.systems import BASELINES, CHECKS, UNTRAINED, unknown


@dataclass(frozen=True, slots=True)
class Request:
    """What an evaluation was asked for.

    Attributes:
        run: whose team; None: the untrained team of the config.
        benchmark, data: what to ask; neither: the questions the run held out.
        split: of a published benchmark; None: the one that is evaluated on.
        limit: ask only the first so many.
        sampled: sample at each agent's temperature instead of taking the likeliest tokens.
        seeds: how often each question is asked, where answers are sampled.
        baselines: any of `untrained`, `single`, `majority`, `reporter_alone`, `zero_shot`; None: all that
            there are but the last.
        checks: any of `shuffled` (again, with the options in another order) and `silenced` (again, with one
            agent saying nothing, each in turn).
        loglikelihood: nobody speaks; the letter that the last agent's policy finds likeliest is the answer.
        endpoint: a server that speaks in the place of all agents.
        model: as that server names it; None: the only one it has.
        resume: go on from the records that are there.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    run: Path | None = None
    benchmark: str | None = None
    data: Path | None = None
    split: str | None = None
    limit: int | None = None
    sampled: bool = False
    seeds: int = 1
    baselines: tuple[str, ...] | None = None
    checks: tuple[str, ...] = ()
    loglikelihood: bool = False
    endpoint: str | None = None
    model: str | None = None
    resume: bool = False

    def refuse_contradictions(self) -> None:
        """Refuses what does not go together, or is not known.

        Raises:
            UsageError: names the option that `maporl eval` has for it.
        """
        for option, names, known in (
            ("--baselines", self.baselines or (), BASELINES),
            ("--checks", self.checks, CHECKS),
        ):
            for name in sorted(set(names) - set(known)):
                raise unknown(name, known, option)
        if not self.loglikelihood:
            return
        talk = {
            "--seeds": self.seeds > 1,
            "--sampled": self.sampled,
            "--baselines": set(self.baselines or ()) - {UNTRAINED},
            "--checks": self.checks,
            "--endpoint": self.endpoint,
        }
        for option in (option for option, given in talk.items() if given):
            untrained = f" (or give `{UNTRAINED}`)" if option == "--baselines" else ""
            raise UsageError(
                f"{option} goes with generated answers.",
                where="--scoring loglikelihood",
                why="nobody speaks there: one model weighs the letters, always to the same end",
                fix=f"leave out {option}{untrained} or --scoring",
            )

    def to_json(self) -> str:
        """The request as the ranks of a job are told it."""
        return TypeAdapter(Request).dump_json(self).decode()

    @staticmethod
    def of_json(text: str) -> Request:
        """The request that was told.

        Raises:
            UsageError: it is none.
        """
        try:
            return TypeAdapter(Request).validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            raise UsageError(
                "This is no request for an evaluation.",
                where="--evaluate",
                why=f"{'.'.join(map(str, first['loc'])) or 'the text'}: {first['msg']}",
                fix="give JSON with the attributes of maporl_cli.worker.Request, such as "
                '\'{"run": "runs/demo", "benchmark": "medqa"}\'',
            ) from error
