"""`maporl eval`: a run's team, and what it is compared with, on questions they never trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from maporl_cli.agents.endpoint import Endpoint
from maporl_cli.agents.turns import unsampled_turn
from maporl_cli.core.config import Config
from maporl_cli.core.errors import Interrupted, MaporlError
from maporl_cli.core.randomness import Draws, Greedy, Sampled, shuffle_options
from maporl_cli.core.run_dir import RunDir
from maporl_cli.core.systems import MAJORITY, SHUFFLED, SILENCED, SINGLE, TEAM, UNTRAINED, ZERO_SHOT
from maporl_cli.core.types import Episode, Question
from maporl_cli.data.splits import content_digest
from maporl_cli.evaluation.comparison import compared, reward_alarm
from maporl_cli.evaluation.conversation import agreement, changes
from maporl_cli.evaluation.evaluate import Judge, Player, answer_all
from maporl_cli.evaluation.findings import findings
from maporl_cli.evaluation.letters import Letters
from maporl_cli.evaluation.majority import Majority, votes_for
from maporl_cli.evaluation.plain_formats import plain_format
from maporl_cli.evaluation.records import Row, record_of, record_without_report
from maporl_cli.evaluation.zero_shot import ZeroShot
from maporl_cli.monitoring.console import Display
from maporl_cli.monitoring.report import write_evaluations, write_report
from maporl_cli.rewards.medical import Reward
from maporl_cli.training.checkpoint import Checkpoints
from maporl_cli.training.placement import place
from maporl_cli.training.ranks import LostContact, OneRank, Ranks
from maporl_cli.worker.answering import answering_alone
from maporl_cli.worker.asked import Asked, asked_questions
from maporl_cli.worker.evaluation_files import EvaluationFiles
from maporl_cli.worker.job import refuse_unlike
from maporl_cli.worker.narrator import Narrator
from maporl_cli.worker.plugins import load_plugins
from maporl_cli.worker.request import Request
from maporl_cli.worker.session import Session
from maporl_cli.worker.systems import Systems


def evaluate_run(
    config: Config, request: Request, *, display: Display, ranks: Ranks | None = None
) -> dict[str, Any]:
    """Evaluate a team and what it is compared with, and keep what was found beside the records.

    Args:
        config: describes the team; with a run, that run's config and what the user changed of it.
        ranks: with whom this process evaluates; None: alone.

    Returns:
        the team's figures (`evaluation.findings`); `baselines`: the same for each; `comparisons` with them;
        `conversation`, `consistency` and `contributions` of the team's agents; and, where nobody can tell
        whether the questions were trained on, a `caution` that says why.

    Raises:
        Interrupted: after Ctrl-C or SIGTERM; the answers so far are kept.
    """
    request.refuse_contradictions()
    ranks = ranks or OneRank(place(config.team.names, 1))
    narrator = Narrator(display)
    with narrator.stop:
        try:
            return _evaluate(config, request, ranks, narrator)
        except (Interrupted, KeyboardInterrupt) as error:
            raise cut_short() from error
        except LostContact as error:
            if narrator.stopping():
                raise cut_short() from error  # the other rank was asked to stop as well, and has left
            raise


def cut_short() -> Interrupted:
    """What a stop comes to."""
    return Interrupted(
        "The evaluation was cut short.",
        why="a stop was asked for; the answers so far are kept",
        fix="run the same command with --resume to go on",
    )


def _evaluate(config: Config, request: Request, ranks: Ranks, narrator: Narrator) -> dict[str, Any]:
    load_plugins(config.run.plugins)
    home = None if request.run is None else RunDir.existing(request.run)

    def questions() -> Asked:
        return asked_questions(config, home, request.benchmark, request.data, request.limit, request.split)

    # Rank 0 first: what it fetches, the others of its host find.
    asked = questions() if ranks.rank == 0 else None
    ranks.broadcast(None, "the questions")
    asked = asked or questions()
    refuse_unlike(ranks, config, {"questions": content_digest(asked.questions)})
    if request.loglikelihood:
        config = answering_alone(config, asked.questions, "--scoring loglikelihood", served=False)
    speaker = None
    if request.endpoint is not None:
        patience = config.eval.endpoint_timeout
        speaker = Endpoint(request.endpoint, request.model, timeout=patience, stopping=narrator.stopping)
    return _Evaluation(config, request, home, asked, narrator, ranks, speaker).go()


class _Evaluation:
    """One evaluation: each system is opened, asked and closed before the next."""

    def __init__(
        self,
        config: Config,
        request: Request,
        home: RunDir | None,
        asked: Asked,
        narrator: Narrator,
        ranks: Ranks,
        speaker: Endpoint | None,
    ) -> None:
        self._config = config
        self._request = request
        self._home = home
        self._asked = asked
        self._narrator = narrator
        self._ranks = ranks
        self._systems = Systems(config, home, asked.questions, ranks, narrator, speaker)
        self._speaker = speaker
        folder = (home.evaluation if home is not None else Path("eval")).resolve()
        kind = "-sampled" if request.sampled else "-loglikelihood" if request.loglikelihood else ""
        self._files = EvaluationFiles(folder, f"{asked.name}{kind}")
        self._seconds: dict[str, float] = {}
        self._votes: dict[str, int] = {}
        self._draws: Draws = Sampled(config.run.seed) if request.sampled else Greedy()

    def go(self) -> dict[str, Any]:
        request, rows = self._request, dict[str, list[Row]]()
        baselines = self._there() if request.baselines is None else request.baselines
        self._systems.refuse_missing(baselines)
        team = self._systems.open(TEAM)
        player = self._player(TEAM, team)
        if ZERO_SHOT in baselines:  # what it is asked with is the last agent's, and known before anything is
            self._zero_shot(team).refuse_too_long(self._asked.questions)
        settings = self._settings()
        self._files.begin(settings, self._ranks, resume=request.resume)
        rows[TEAM] = self._ask(TEAM, team, player, self._episodes())
        again = dict(self._checks(team, rows[TEAM]))
        del team, player
        for which in baselines:
            if which == MAJORITY:
                if SINGLE not in rows:
                    rows[SINGLE] = self._alone(SINGLE)
                rows[MAJORITY] = self._vote(rows)
            elif which not in rows:
                rows[which] = self._alone(which)
        found = self._found(rows, again)
        if self._ranks.rank == 0:
            self._files.end(settings, found)
            self._report()
        return found

    def _report(self) -> None:
        """The page; where it cannot be written, the figures are there all the same."""
        try:
            page = write_evaluations(self._files.folder) if self._home is None else write_report(self._home)
            self._narrator.say(f"report: {page}")
        except MaporlError as error:
            self._narrator.say(f"The report could not be written: {error.what}")

    def _there(self) -> list[str]:
        """The baselines of an evaluation that names none."""
        there = self._systems.there()
        return [which for which in there if which == UNTRAINED] if self._request.loglikelihood else there

    def _player(self, who: str, session: Session) -> Player:
        """Who answers for a system."""
        if who == ZERO_SHOT:
            return self._zero_shot(session)
        if self._request.loglikelihood:
            (agent,) = session.team.agents
            format = plain_format(self._request.benchmark)
            return Letters(agent.name, agent.policy, format, stopping=self._narrator.stopping)
        return session.team

    def _zero_shot(self, session: Session) -> ZeroShot:
        """The last agent of a team, asked with the published prompts.

        Raises:
            ConfigError: it knows no talks.
        """
        agent = session.team.agents[-1]
        return ZeroShot(
            agent.name,
            agent.policy,
            max_new_tokens=self._config.eval.zero_shot_max_new_tokens,
            temperature=agent.temperature,
            stopping=self._narrator.stopping,
        )

    def _settings(self) -> dict[str, Any]:
        """What is evaluated; who goes on with it must mean the same."""
        latest = None if self._home is None else Checkpoints(self._home.checkpoints, keep=1).latest()
        return {
            "questions": content_digest(self._asked.questions),
            "checkpoint": None if latest is None else latest.name,
            "sampled": self._request.sampled,
            "seeds": self._request.seeds,
            "endpoint": self._request.endpoint,
            "model": None if self._speaker is None else self._speaker.model,
            "loglikelihood": self._request.loglikelihood,
            "config": self._config.model_dump(mode="json"),
        }

    def _episodes(self, change: Callable[[Question], Question] = lambda question: question) -> list[Episode]:
        """An empty one for each seed and question."""
        return [
            Episode(question=change(question), sample=0, step=seed)
            for seed in range(self._request.seeds)
            for question in self._asked.questions
        ]

    def _ask(
        self,
        who: str,
        session: Session,
        player: Player,
        episodes: Sequence[Episode],
        *,
        draws: Draws | None = None,
        batch_size: int | None = None,
    ) -> list[Row]:
        answers = answer_all(
            player,
            episodes,
            draws=draws or self._draws,
            batch_size=batch_size or self._config.eval.batch_size,
            records=self._files.records(who),
            ranks=session.ranks,
            judge=self._judge(who, session),
            record=record_without_report if self._request.loglikelihood or who == MAJORITY else record_of,
            resume=self._request.resume,
            warn=self._narrator.say,
            on_progress=lambda done, total: self._narrator.progress(f"{who}: question", done, total),
        )
        if answers.asked:
            self._seconds[who] = answers.seconds / answers.asked
        return answers.rows

    def _judge(self, who: str, session: Session) -> Judge | None:
        """Who scores its answers.

        Nobody, where nobody said them, a letter or what was elected: it has earned nothing, and nothing of it
        is unsafe. Nor where the model was asked for a letter, and not told what a report should hold.
        """
        if self._request.loglikelihood or who in (MAJORITY, ZERO_SHOT):
            return None
        reward = Reward(self._config.reward, session.book)
        return lambda finished: reward.score([[episode] for episode in finished])

    def _checks(self, team: Session, rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
        """The team again, with one thing changed."""
        seed = self._config.run.seed
        if SHUFFLED in self._request.checks:
            episodes = self._episodes(lambda question: _in_another_order(question, seed))
            yield SHUFFLED, self._ask(SHUFFLED, team, team.team, episodes)
        if SILENCED in self._request.checks:
            for place, agent in enumerate(team.team.agents[:-1]):
                who = f"without_{agent.name}"
                episodes = _heard(self._episodes(), rows, place)
                yield who, self._ask(who, team, team.team.silenced(agent.name), episodes)

    def _vote(self, rows: Mapping[str, Sequence[Row]]) -> list[Row]:
        """The single agent, asked as often as the team's tokens pay for."""
        votes = votes_for(_tokens(rows[TEAM]), _tokens(rows[SINGLE]))
        self._votes = {MAJORITY: votes}
        session = self._systems.open(SINGLE)
        return self._ask(
            MAJORITY,
            session,
            Majority(session.team, votes),
            self._episodes(),
            draws=Sampled(self._config.run.seed),
            batch_size=max(1, self._config.eval.batch_size // votes),
        )

    def _alone(self, who: str) -> list[Row]:
        session = self._systems.open(who)
        return self._ask(who, session, self._player(who, session), self._episodes())

    def _found(self, rows: Mapping[str, Sequence[Row]], again: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
        """What the records of all systems come to."""
        team = rows[TEAM]
        others = {who: own for who, own in rows.items() if who != TEAM}
        found = self._figures(TEAM, team)
        found["baselines"] = {who: self._figures(who, own) for who, own in others.items()}
        found["comparisons"] = compared(team, others)
        found["conversation"] = changes(team)
        consistency = agreement(team, again[SHUFFLED]) if SHUFFLED in again else None
        if consistency is not None:
            found["consistency"] = consistency
        silenced = {who.removeprefix("without_"): own for who, own in again.items() if who != SHUFFLED}
        found["contributions"] = compared(team, silenced)
        if UNTRAINED in others:
            found["alarm"] = reward_alarm(team, others[UNTRAINED])
        if self._asked.caution:
            found["caution"] = self._asked.caution
        return found

    def _figures(self, who: str, rows: Sequence[Row]) -> dict[str, Any]:
        """What the records of one system say, and what records do not: how long a question took just now."""
        seconds = {"seconds_per_question": self._seconds[who]} if who in self._seconds else {}
        votes = {"votes": self._votes[who]} if who in self._votes else {}
        return findings(rows) | seconds | votes | {"records": str(self._files.records(who))}


def _in_another_order(question: Question, seed: int) -> Question:
    """The question with its options shuffled; where it has several, they never stand as they did."""
    shuffled = (shuffle_options(question, seed, step=step) for step in count())
    return next(one for one in shuffled if len(one.options) < 2 or one.options != question.options)


def _heard(episodes: Sequence[Episode], rows: Sequence[Row], turns: int) -> list[Episode]:
    """The episodes after the first turns that the records show; who took them is not asked again."""
    for episode, row in zip(episodes, rows, strict=True):
        episode.turns += [
            unsampled_turn(turn["agent"], turn["round"], turn["text"]) for turn in row["turns"][:turns]
        ]
        episode.inherited = turns
    return list(episodes)


def _tokens(rows: Sequence[Row]) -> int:
    return sum(row["tokens"] for row in rows)
