"""The graph: who speaks when, who hears what, and when an episode is over. No model needed."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from support import floor, tiny_policy, word_book

from maporl_cli.agents.evidence import NoEvidence, PoolEvidence
from maporl_cli.agents.policy import NotFinite, Sample
from maporl_cli.agents.roles import Role, RoleBook
from maporl_cli.agents.team import Agent, Team
from maporl_cli.core.errors import DataError, RunFailed
from maporl_cli.core.randomness import Greedy, Sampled
from maporl_cli.core.types import Episode, Question, Snippet

NAMES = ("planner", "analyst", "reporter")
BOOK = RoleBook(
    name="toy",
    roles={
        "planner": Role("planner", ("question",), "plan"),
        "analyst": Role("analyst", ("question", "evidence"), "analyse"),
        "reporter": Role("reporter", ("question", "options"), "report"),
    },
    sections={"question": "{}", "evidence": "{}", "options": "{}", "context": "{}"},
    separator=" ",
)


class Scripted:
    """Says what `script(prompt)` tells it to, in ids that no encoder would give for that text."""

    context_length = 10_000

    def __init__(self, script: Callable[[str], str], version: int = 0) -> None:
        self.version = version
        self._script = script
        self._words: list[str] = []
        self.calls: list[list[str]] = []
        self.generators: list = []
        self.limits: list[tuple[int, float]] = []
        self.finished = True

    def encode(self, prompt: str) -> tuple[int, ...]:
        self._words += [word for word in prompt.split() if word not in self._words]
        return tuple(self._words.index(word) for word in prompt.split())

    def decode(self, token_ids: Sequence[int]) -> str:
        """Each word was sampled as two ids, of which the second is nothing."""
        return " ".join(self._words[token - 5000] for token in token_ids[::2])

    def sample(self, prompts, generators, *, max_new_tokens, temperature):
        texts = [" ".join(self._words[token] for token in prompt) for prompt in prompts]
        self.calls.append(texts)
        self.generators.append(generators)
        self.limits.append((max_new_tokens, temperature))
        samples = []
        for text in texts:
            words = self.encode(self._script(text))
            ids = tuple(part for word in words for part in (word + 5000, 9999))
            samples.append(Sample(ids, tuple(-0.5 - index for index in range(len(ids))), self.finished))
        return samples


def team(scripts: dict[str, Callable[[str], str]], *, rounds=1, evidence=None, names=NAMES, **limits):
    policies = {name: Scripted(scripts.get(name, lambda _: "hm"), version=3) for name in names}
    agents = [
        Agent(name, BOOK.role(name), policies[name], limits.get(name, 8), 0.5 + index)
        for index, name in enumerate(names)
    ]
    return Team(agents, BOOK, evidence or NoEvidence(), rounds, floor()), policies


def episodes(*names: str, snippets=()):
    return [
        Episode(
            question=Question(
                id=name, text=f"stem-{name}", options={"A": "yes", "B": "no"}, answer="A", evidence=snippets
            ),
            sample=0,
            step=1,
        )
        for name in names
    ]


def test_agents_speak_in_order_and_hear_everything_said_before():
    played, policies = team(
        {"planner": lambda _: "look", "analyst": lambda _: "fine", "reporter": lambda _: "(B)"}
    )
    (episode,) = batch = episodes("q1")
    played.play(batch, Greedy())
    assert [(turn.agent, turn.round, turn.text) for turn in episode.turns] == [
        ("planner", 0, "look"),
        ("analyst", 0, "fine"),
        ("reporter", 0, "(B)"),
    ]
    assert policies["planner"].calls == [["stem-q1 plan"]]
    assert policies["analyst"].calls == [["stem-q1 planner: look analyse"]]
    assert policies["reporter"].calls == [["stem-q1 (A) yes (B) no planner: look analyst: fine report"]]
    assert episode.answer == "B"


def test_a_turn_is_recorded_as_it_was_sampled():
    """Ids are neither decoded and encoded again, nor is the prompt anything but what was sampled on."""
    played, policies = team({"planner": lambda _: "look here"})
    (episode,) = batch = episodes("q1")
    policies["planner"].finished = False
    played.play(batch, Greedy())
    first = episode.turns[0]
    planner = policies["planner"]
    assert first.prompt_ids == planner.encode("stem-q1 plan")
    look, here = planner.encode("look here")
    assert first.token_ids == (look + 5000, 9999, here + 5000, 9999)
    assert first.logprobs == (-0.5, -1.5, -2.5, -3.5)
    assert (first.finished, first.policy_version) == (False, 3)
    assert episode.turns[1].finished


def test_each_agent_has_its_own_limits_and_streams():
    played, policies = team({"reporter": lambda _: "(A)"}, planner=4, analyst=6)
    batch = episodes("q1", "q2")
    played.play(batch, Sampled(7))
    assert policies["planner"].limits == [(4, 0.5)]
    assert policies["analyst"].limits == [(6, 1.5)]
    for name in NAMES:
        drawn = [generator.random(3).tolist() for generator in policies[name].generators[0]]
        keyed = [Sampled(7).generator(episode, 0, name).random(3).tolist() for episode in batch]
        assert drawn == keyed
    played, policies = team({"reporter": lambda _: "(A)"})
    played.play(episodes("q1"), Greedy())
    assert policies["planner"].generators == [[None]]


def test_settled_episodes_rest_while_others_go_on():
    """q1 settles in round 0, q2 in round 2, q3 never."""

    def report(prompt: str) -> str:
        if "stem-q1" in prompt:
            return "(A)"
        if "stem-q2" in prompt and prompt.count("reporter:") == 2:
            return "(B)"
        return "unsure"

    played, policies = team({"reporter": report}, rounds=4)
    one, two, three = batch = episodes("q1", "q2", "q3")
    played.play(batch, Greedy())
    assert [len(episode.turns) for episode in batch] == [3, 9, 12]
    assert [episode.answer for episode in batch] == ["A", "B", None]
    assert [turn.round for turn in three.turns] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert [turn.agent for turn in two.turns] == [*NAMES] * 3
    # one call an agent and round, over the active ones alone
    for name in NAMES:
        asked = [[text.split()[0] for text in call] for call in policies[name].calls]
        assert asked == [
            ["stem-q1", "stem-q2", "stem-q3"],
            ["stem-q2", "stem-q3"],
            ["stem-q2", "stem-q3"],
            ["stem-q3"],
        ]
    assert one.turns[-1].round == 0


@pytest.mark.parametrize("rounds", [1, 2, 5, 16])
def test_never_more_than_the_rounds_allowed(rounds):
    played, policies = team({}, rounds=rounds)
    (episode,) = batch = episodes("q1")
    played.play(batch, Greedy())
    assert len(episode.turns) == 3 * rounds
    assert len(policies["planner"].calls) == rounds


def test_streams_differ_from_round_to_round():
    played, policies = team({}, rounds=2)
    played.play(episodes("q1"), Sampled(0))
    first, second = (call[0].random(4).tolist() for call in policies["planner"].generators)
    assert first != second


def test_a_later_round_sees_the_earlier_report_and_may_revise_it():
    def report(prompt: str) -> str:
        return "(B) after all" if "reporter: (A)" in prompt else "(A) for now"

    def analyse(prompt: str) -> str:
        return "(B) rather"

    played, policies = team({"reporter": report, "analyst": analyse}, rounds=3)
    (episode,) = batch = episodes("q1")
    played.play(batch, Greedy())
    assert policies["planner"].calls[1] == [
        "stem-q1 planner: hm analyst: (B) rather reporter: (A) for now plan"
    ]
    assert [turn.text for turn in episode.turns if turn.agent == "reporter"] == [
        "(A) for now",
        "(B) after all",
    ]
    assert episode.answer == "B"


def test_the_answer_is_that_of_the_last_report_even_where_an_earlier_one_was_readable():
    def report(prompt: str) -> str:
        return "unsure now" if "reporter:" in prompt else "(A)"

    played, _ = team({"reporter": report, "analyst": lambda _: "(B)"}, rounds=2)
    (episode,) = batch = episodes("q1")
    played.play(batch, Greedy())
    assert episode.answer is None


def test_a_safety_flag_starts_another_round_until_it_is_answered():
    def report(prompt: str) -> str:
        return "Flag answered: mild. (A)" if "reporter:" in prompt else "(A)"

    def analyse(prompt: str) -> str:
        return "(A) fits" if "reporter:" in prompt else "Safety flag: allergic"

    played, _ = team({"reporter": report, "analyst": analyse}, rounds=4)
    (episode,) = batch = episodes("q1")
    played.play(batch, Greedy())
    assert [turn.round for turn in episode.turns] == [0, 0, 0, 1, 1, 1]
    assert episode.answer == "A"


def test_evidence_is_looked_up_with_what_the_team_said():
    snippets = tuple(Snippet(f"e{n}", word) for n, word in enumerate(("heart", "liver", "kidney")))
    played, policies = team({"planner": lambda _: "kidney"}, evidence=PoolEvidence(1))
    (episode,) = batch = episodes("q1", snippets=snippets)
    played.play(batch, Greedy())
    assert policies["analyst"].calls == [["stem-q1 [e2] kidney planner: kidney analyse"]]
    assert "[e" not in policies["reporter"].calls[0][0]
    assert [turn.evidence for turn in episode.turns] == [(), snippets[2:], ()]
    assert episode.evidence == snippets[2:]


def test_a_prompt_that_does_not_fit_names_the_question_and_the_agent():
    played, policies = team({"reporter": lambda _: "(A)"})
    policies["reporter"].context_length = (
        len(policies["reporter"].encode("stem-q1 (A) yes (B) no planner: hm analyst: hm report")) + 8
    )
    played.play(episodes("q1"), Greedy())  # just fits
    policies["reporter"].context_length -= 1
    with pytest.raises(DataError, match="agent 'reporter'") as told:
        played.play(episodes("q1"), Greedy())
    assert told.value.where == "question q1"
    assert "10 prompt tokens + 8 new ones > 17" in told.value.why


@pytest.mark.parametrize("damage", [float("nan"), float("-inf")])
def test_a_policy_without_probabilities_is_an_error_not_a_turn(damage):
    """Its babble would be cut and its groups dead, so that no loss would ever show the damage."""
    played, policies = team({"reporter": lambda _: "(A)"})
    policies["analyst"].sample = lambda prompts, *_, **__: [Sample((5000,), (damage,), True) for _ in prompts]
    with pytest.raises(NotFinite, match="turn of the agent 'analyst'") as told:
        played.play(episodes("q1"), Greedy())
    assert told.value.exit_code == 1


def test_no_episodes_no_calls():
    played, policies = team({})
    played.play([], Greedy())
    assert policies["planner"].calls == []


def test_one_agent_is_a_team():
    played, _ = team({"reporter": lambda _: "(B)"}, names=("reporter",), rounds=3)
    (episode,) = batch = episodes("q1")
    played.play(batch, Greedy())
    assert ([turn.agent for turn in episode.turns], episode.answer) == (["reporter"], "B")


@pytest.mark.parametrize("name", ["episodes", "draws", "active", "round", "close_round"])
def test_an_agent_may_have_a_name_that_the_graph_uses_itself(name):
    role = Role(name, ("question",), "say")
    policies = [Scripted(lambda _: "hm", version=0), Scripted(lambda _: "(B)", version=0)]
    agents = [
        Agent(name, role, policies[0], 8, 1.0),
        Agent("reporter", BOOK.role("reporter"), policies[1], 8, 1.0),
    ]
    (episode,) = batch = episodes("q1")
    Team(agents, BOOK, NoEvidence(), 1, floor()).play(batch, Greedy())
    assert [turn.agent for turn in episode.turns] == [name, "reporter"]


def real_team(rounds=2):
    book = word_book(NAMES)
    agents = [Agent(name, book.role(name), tiny_policy(seed), 6, 1.2) for seed, name in enumerate(NAMES)]
    return Team(agents, book, NoEvidence(), rounds, floor())


def real_episodes():
    return [
        Episode(
            Question(f"q{n}", " ".join(["w5"] * (1 + n % 3) + ["w9"]), {"A": "w1", "B": "w2"}, "A"), sample, 4
        )
        for n in range(4)
        for sample in range(3)
    ]


def test_the_same_episodes_whatever_the_batch():
    played = real_team()
    whole, parts, reverse = real_episodes(), real_episodes(), real_episodes()
    played.play(whole, Sampled(5))
    for start in range(0, len(parts), 5):
        played.play(parts[start : start + 5], Sampled(5))
    played.play(reverse[::-1], Sampled(5))
    assert len({episode.turns[0].token_ids for episode in whole}) > 8
    for other in (parts, reverse):
        for one, two in zip(whole, other, strict=True):
            assert [turn.token_ids for turn in one.turns] == [turn.token_ids for turn in two.turns]
            assert [turn.prompt_ids for turn in one.turns] == [turn.prompt_ids for turn in two.turns]
            assert one.answer == two.answer
            for first, second in zip(one.turns, two.turns, strict=True):
                assert first.logprobs == pytest.approx(second.logprobs, abs=1e-5)


def test_an_episode_that_is_cut_anywhere_is_played_on_to_what_it_was():
    """Draws belong to a place, so that what comes after it does not know of the cut."""
    played = real_team(rounds=3)
    whole = real_episodes()
    played.play(whole, Sampled(5))
    lengths = {len(episode.turns) for episode in whole}
    assert max(lengths) == played.max_turns == 9
    cuts = [(episode, cut) for episode in whole for cut in range(len(episode.turns) + 1)]
    anew = [replace(episode, turns=episode.turns[:cut], answer=None) for episode, cut in cuts]
    parts = [[one for one in anew if len(one.turns) == cut] for cut in range(10)]
    played.play_all(parts, Sampled(5))
    for one, (episode, _) in zip(anew, cuts, strict=True):
        assert [turn.token_ids for turn in one.turns] == [turn.token_ids for turn in episode.turns]
        assert [(turn.agent, turn.round) for turn in one.turns] == [
            (turn.agent, turn.round) for turn in episode.turns
        ]
        assert one.answer == episode.answer


def test_an_episode_that_is_cut_after_a_report_decides_anew_whether_to_go_on():
    """The report is read, and a second round taken, as the text there says, whoever wrote it."""
    played, policies = team({"reporter": lambda _: "(A)"}, rounds=2)
    (first,) = batch = episodes("q1")
    played.play(batch, Greedy())
    assert (len(first.turns), first.answer) == (3, "A")
    sure, unsure = (
        replace(first, turns=[*first.turns[:2], replace(first.turns[2], text=text)], answer=None)
        for text in ("(B)", "unsure")
    )
    policies["planner"].calls.clear()
    played.play([sure, unsure], Greedy())
    assert (len(sure.turns), sure.answer) == (3, "B")
    assert (len(unsure.turns), unsure.answer) == (6, "A")
    assert policies["planner"].calls == [["stem-q1 planner: hm analyst: hm reporter: unsure plan"]]


def test_a_batch_stands_at_one_place():
    played, _ = team({})
    one, two = episodes("q1", "q2")
    played.play([one], Greedy())
    with pytest.raises(ValueError, match=r"different numbers of turns: \[0, 3\]"):
        played.play([one, two], Greedy())


def test_recorded_logprobs_are_those_of_the_recorded_ids_on_the_recorded_prompt():
    played = real_team(rounds=1)
    batch = real_episodes()[:4]
    played.play(batch, Sampled(5))
    for agent in played.agents:
        turns = [turn for episode in batch for turn in episode.turns if turn.agent == agent.name]
        with torch.no_grad():
            scored = agent.policy.score(
                [turn.prompt_ids for turn in turns], [turn.token_ids for turn in turns], temperature=1.2
            )
        for row, turn in enumerate(turns):
            fresh = scored.logprobs[row, : len(turn.token_ids)].numpy()
            assert np.allclose(fresh, turn.logprobs, atol=2e-5)


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory. Tried to"), RuntimeError("x: can't allocate memory: y")],
)
def test_too_little_memory_names_the_agent_and_what_to_change(error):
    played, policies = team({})

    def fail(*_, **__):
        raise error

    policies["analyst"].sample = fail
    with pytest.raises(RunFailed) as told:
        played.play(episodes("q1"), Greedy())
    assert "'analyst'" in told.value.what
    assert told.value.where == "sampling its turns"
    assert "rollout.microbatches" in told.value.fix


def test_other_errors_of_a_policy_stay_what_they_are():
    played, policies = team({})

    def fail(*_, **__):
        raise RuntimeError("a bug")

    policies["analyst"].sample = fail
    with pytest.raises(RuntimeError, match="a bug"):
        played.play(episodes("q1"), Greedy())


def test_who_is_silenced_is_not_asked_and_heard_as_nothing():
    whole, policies = team({"planner": lambda _: "look", "analyst": lambda _: "so"}, rounds=2)
    (episode,) = episodes("q")
    whole.silenced("planner").play([episode], Greedy())
    assert [(turn.agent, turn.text) for turn in episode.turns[:2]] == [("planner", ""), ("analyst", "so")]
    assert (episode.turns[0].tokens, episode.turns[0].finished) == (0, True)
    assert not policies["planner"].calls
    assert "planner: analyse" in policies["analyst"].calls[0][0]
    whole.play(episodes("q"), Greedy())
    assert policies["planner"].calls, "the team itself still listens to it"


def test_a_team_and_its_silenced_copies_never_play_under_one_number():
    seen: list[int] = []

    class Noting:
        async def turns(self, place, speak):
            seen.append(place.play)
            return speak()

    whole, _ = team({})
    whole._stage = Noting()
    for player in (whole, whole.silenced("planner"), whole, whole.silenced("analyst")):
        player.play(episodes("q"), Greedy())
    assert sorted(set(seen)) == [1, 2, 3, 4]
