"""The verifier: what it reads, what it learns, and that nothing but its place decides how.

In the planted task an answer is right where the reporter says w20 and wrong where it says w21, among
words that mean nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ranks import on_ranks
from support import WORDS, alone, tiny_policy
from torch.nn.functional import binary_cross_entropy_with_logits

from maporl_cli.agents.build import build_policies
from maporl_cli.agents.policy import NotFinite, Readable
from maporl_cli.agents.prompts import render_prompt
from maporl_cli.agents.roles import Role, RoleBook
from maporl_cli.core.config import Config
from maporl_cli.core.errors import DataError
from maporl_cli.core.randomness import keyed_generator
from maporl_cli.core.types import Episode, Group, Question, Snippet, Turn
from maporl_cli.training.calibration import calibration
from maporl_cli.training.checkpoint import Checkpoints, Progress, load_checkpoint
from maporl_cli.training.placement import place
from maporl_cli.training.ranks import Ranks
from maporl_cli.training.verifier import BATCH, HEAD_STEP, Verifier
from maporl_cli.worker.job import join, open_store

BOOK = RoleBook(
    name="toy",
    roles={"single": Role("single", ("question", "context", "evidence", "options"), "w39")},
    sections={"question": "{}", "context": "{}", "evidence": "{}", "options": "{}"},
    option="({letter}) {text}",
    snippet="{text}",
    turn="{text}",
    separator=" ",
)
TEAM = ("planner", "reporter")
TONGUE = tiny_policy()
"""Only its tokenizer is used."""


def verifier(policy=None, *, ranks: Ranks | None = None, every: int = 1, seed: int = 0, **train) -> Verifier:
    config = Config.model_validate(
        {
            "run": {"seed": seed},
            "reward": {"verifier": "learned", "verifier_refresh": every},
            "train": {"learning_rate": 1e-3, "per_device_train_batch_size": 16, **train},
        }
    )
    return Verifier(
        policy or tiny_policy(),
        beside="reporter",
        book=BOOK,
        config=config,
        learning_rate=config.train.learning_rate,
        ranks=ranks or alone(*TEAM),
    )


def spoken(agent: str, text: str) -> Turn:
    ids = TONGUE.encode_turn(text)
    return Turn(agent, 0, (3,), ids, (-1.0,) * len(ids), text, finished=True, policy_version=0)


def episode(step: int, number: int, *, known: bool = True) -> Episode:
    draws = keyed_generator("planted", step, number)
    right = bool(draws.integers(2))
    noise = [WORDS[index] for index in draws.integers(20, size=5)]
    question = Question(f"q{step}.{number}", noise[0], {"A": "w30", "B": "w31"}, answer="A" if known else "")
    said = f"{noise[1]} {noise[2]} {'w20' if right else 'w21'} {noise[3]}"
    turns = [spoken("planner", noise[4]), spoken("reporter", said)]
    return Episode(question, number, step, turns, "A" if right else "B")


def played(step: int, count: int = 64, *, known: bool = True) -> list[Group]:
    """Groups of four."""
    episodes = [episode(step, number, known=known) for number in range(count)]
    return [Group(episodes[start : start + 4]) for start in range(0, count, 4)]


def flat(groups: Sequence[Group]) -> list[Episode]:
    return [one for group in groups for one in group.episodes]


def go(one: Verifier, steps: Sequence[int], count: int = 64) -> dict[str, float]:
    """The metrics of the last of these steps."""
    metrics: dict[str, float] = {}
    for step in steps:
        one.judge(played(step, count))
        metrics = one.refresh(step)
    return metrics


def weights(one: Verifier) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in one.trainable().values()]


def same(one: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_of_a_step_that_is_given_up_nothing_is_kept():
    """It is played again by the run that goes on, and would be learned from twice."""
    once, again = verifier(), verifier()
    again.judge(played(1))
    assert again.state()["window"] == []
    metrics = go(once, range(1, 3)), go(again, range(1, 3))
    assert metrics[0] == metrics[1] != {}
    assert same(weights(once), weights(again))


def test_it_learns_what_can_be_read_and_knows_how_sure_to_be():
    one = verifier()
    metrics = go(one, range(1, 11))
    assert metrics["verifier:auc"] > 0.9, "of episodes that it had not learned from when it judged them"
    assert metrics["verifier:brier"] < 0.5 * metrics["verifier:brier_base"]
    assert metrics["verifier:calibration_error"] < 0.15
    unseen = flat(played(99, 200, known=False))
    one.judge([Group(unseen)])
    right = [episode.answer == "A" for episode in unseen]
    found = calibration([episode.verified for episode in unseen], right, 0.5)
    assert found["auc"] > 0.9
    assert found["brier"] < 0.25


def test_it_says_nothing_before_its_first_refresh_and_something_after():
    one = verifier(every=2)
    for step, told in ((1, False), (2, False), (3, True), (4, True)):
        groups = played(step, 8) + played(step + 50, 8, known=False)
        one.judge(groups)
        assert all((episode.verified is not None) is told for episode in flat(groups))
        metrics = one.refresh(step)
        assert bool(metrics) is (step == 4), "nothing had been predicted before the first refresh"


def test_what_it_is_judged_by_was_said_before_it_learned():
    """The window's predictions, not those of the weights after it."""
    one = verifier(every=2)
    go(one, [1, 2])
    third, fourth = played(3), played(4)
    one.judge(third)
    assert one.refresh(3) == {}
    one.judge(fourth)
    said = [episode.verified for episode in flat([*third, *fourth])]
    right = [episode.answer == "A" for episode in flat([*third, *fourth])]
    before = [episode.answer == "A" for episode in flat([*played(1), *played(2)])]
    expected = calibration(said, right, sum(before) / len(before))
    assert one.refresh(4) == {f"verifier:{name}": value for name, value in expected.items()}


def test_a_spine_is_judged_and_learned_from_once_and_told_in_each_of_its_groups():
    one = verifier(every=1)
    go(one, [1], count=8)
    spine, *siblings = flat(played(2, 3))
    groups = [Group([replace(spine), sibling], place) for place, sibling in enumerate(siblings)]
    one.judge(groups)
    first, second = (group.episodes[0].verified for group in groups)
    assert first == second is not None
    assert all(sibling.verified not in (None, first) for sibling in siblings)
    assert [reading.predicted for reading in one._judged] == [first, *(each.verified for each in siblings)]


def test_it_reads_all_that_anyone_saw_and_all_that_was_said():
    policy = tiny_policy()
    question = Question("q", "w1", {"A": "w2", "B": "w3"}, "A", context="w4", evidence=(Snippet("e", "w5"),))
    turns = [
        spoken("planner", "w6"),
        spoken("reporter", "w7"),
        spoken("planner", "w8"),
        spoken("reporter", "w9"),
    ]
    shown = [turns[0], turns[1], *turns[2:]]
    one = Episode(question, 0, 1, shown, "A")
    one.turns[0] = Turn(**{**vars_of(turns[0]), "evidence": (Snippet("e", "w5"),)})
    read = verifier(policy)._read(policy, one)
    assert policy.decode(read.prompt_ids) == "w1 w4 w5 (A) w2 (B) w3 w6 w7 w8 w39"
    assert read.token_ids == turns[-1].token_ids
    assert read.right is True


def vars_of(turn: Turn) -> dict:
    return {name: getattr(turn, name) for name in Turn.__dataclass_fields__}


@pytest.mark.parametrize("size", [1, 2, 16])
def test_gradient_and_loss_are_those_of_torch(size):
    """Row by row without padding, from the hidden states that transformers gives."""
    groups = [Group([episode(1, number) for number in range(5)])]
    one = verifier(tiny_policy(), per_device_train_batch_size=size, max_grad_norm=1e9)
    reference = tiny_policy()
    head = torch.nn.Linear(64, 1)
    with torch.no_grad():
        head.weight.normal_(generator=torch.Generator().manual_seed(1))
        head.bias.fill_(0.3)
        one.trainable()["head.weight"].copy_(head.weight)
        one.trainable()["head.bias"].copy_(head.bias)
    logits, right = [], []
    for played_one in flat(groups):
        *heard, last = played_one.turns
        prompt = render_prompt(BOOK, BOOK.role("single"), played_one.question, (), heard)
        ids = torch.tensor([[*reference.encode(prompt), *last.token_ids]])
        states = reference._model(input_ids=ids, output_hidden_states=True).hidden_states[-1]
        logits.append(head(states[0, -1]).squeeze())
        right.append(float(played_one.answer == "A"))
    binary_cross_entropy_with_logits(torch.stack(logits), torch.tensor(right)).backward()
    expected = {**reference.trainable(), "head.weight": head.weight, "head.bias": head.bias}
    one.judge(groups)
    before = torch.sigmoid(torch.stack(logits)).tolist()
    assert one._mind is not None
    assert one._mind.predict(one._judged) == pytest.approx(before, abs=1e-5)
    one.refresh(1)
    for name, parameter in one.trainable().items():
        torch.testing.assert_close(parameter.grad, expected[name].grad, rtol=1e-4, atol=1e-6)


def test_a_step_moves_the_head_by_its_own_size_whatever_the_models_learning_rate():
    one = verifier(learning_rate=1e-6)
    groups = [Group([episode(1, number) for number in range(5)])]
    one.judge(groups)
    one.refresh(1)
    weight = one.trainable()["head.weight"]
    assert weight.abs().max().item() == pytest.approx(HEAD_STEP / 64, rel=1e-3), "Adam's first step"


def test_the_same_seed_learns_the_same_and_another_in_another_order():
    one, two, other = verifier(), verifier(), verifier(seed=1)
    metrics = [go(each, range(1, 4)) for each in (one, two, other)]
    assert metrics[0] == metrics[1]
    assert same(weights(one), weights(two))
    assert not same(weights(one), weights(other))


def test_it_goes_on_from_a_checkpoint_as_if_it_had_never_stopped(tmp_path):
    """Also from the middle between two refreshes, with what it is about to learn from."""
    whole = verifier(every=2)
    expected = go(whole, range(1, 7))
    first = verifier(every=2)
    go(first, range(1, 6))
    ranks = alone(*TEAM)
    policies = {name: tiny_policy() for name in TEAM}
    path = Checkpoints(tmp_path, keep=2).save(Progress(5), policies, [], ranks, first)
    second = verifier(tiny_policy(seed=3), every=2)
    load_checkpoint(path, policies, [], ranks, second)
    assert go(second, [6]) == expected
    assert same(weights(whole), weights(second))
    assert sorted(file.name for file in (path / "verifier").iterdir()) == ["state.pt", "weights.safetensors"]


def on_replicas(folder: Path, count: int) -> tuple[dict[str, float], list[float], list[torch.Tensor]]:
    """As on one rank of a job: each replica plays its part of the groups."""
    config = Config.model_validate({"placement": {"timeout": 60.0}})
    agents = ("reporter",) if count > 1 else TEAM
    ranks = join(config, open_store()).placed(place(agents, count))
    one = verifier(ranks=ranks, every=2)
    metrics: dict[str, float] = {}
    said: list[float] = []
    for step in range(1, 5):
        groups = played(step, 40)
        part = groups[ranks.rank * len(groups) // count : (ranks.rank + 1) * len(groups) // count]
        one.judge(part)
        said = [episode.verified or 0.0 for episode in flat(part)]
        metrics = one.refresh(step)
    return metrics, said, weights(one)


def test_two_replicas_learn_what_one_does(tmp_path):
    one = verifier(every=2)
    said: list[float] = []
    expected: dict[str, float] = {}
    for step in range(1, 5):
        groups = played(step, 40)
        one.judge(groups)
        said = [episode.verified or 0.0 for episode in flat(groups)]
        expected = one.refresh(step)
    (first, said_here, learned), (second, said_there, others) = on_ranks(2, on_replicas, tmp_path, 2)
    assert same(learned, others), "replicas stay the same to the bit"
    assert first == second == pytest.approx(expected, abs=1e-3)
    assert [*said_here, *said_there] == pytest.approx(said, abs=1e-3)
    for mine, theirs in zip(weights(one), learned, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=2e-3)


def beside_the_last_agent() -> tuple[bool, list[float | None]]:
    config = Config.model_validate({"placement": {"timeout": 60.0}})
    ranks = join(config, open_store()).placed(place(TEAM, 2))
    there = "reporter" in ranks.placement.ranks[ranks.rank].agents
    one = verifier(ranks=ranks) if there else verifier_elsewhere(ranks)
    groups = played(1, 16)
    one.judge(groups)
    one.refresh(1)
    groups = played(2, 16, known=False)
    one.judge(groups)
    return there, [episode.verified for episode in flat(groups)]


def verifier_elsewhere(ranks: Ranks) -> Verifier:
    config = Config.model_validate({"reward": {"verifier": "learned", "verifier_refresh": 1}})
    return Verifier(None, beside="reporter", book=BOOK, config=config, learning_rate=1e-3, ranks=ranks)


def test_every_rank_of_a_replica_is_told_what_the_last_agents_rank_found():
    told = dict(on_ranks(2, beside_the_last_agent))
    assert told[True] == told[False]
    assert all(chance is not None for chance in told[True])


@pytest.mark.parametrize("finetune", ["lora", "full"])
def test_it_is_one_more_seat_and_leaves_the_others_as_they_are(tmp_path, finetune):
    """With LoRA one more adapter on the base that all share; else a model of its own."""
    tiny_policy(1).save(tmp_path)
    settings = Config.model_validate(
        {
            "team": {"agents": [{"name": name} for name in TEAM]},
            "model": {"name": str(tmp_path), "finetune": finetune},
        }
    )
    policies = build_policies(settings, WORDS, torch.device("cpu"), lambda _: None, (*TEAM, "verifier"))
    reader = policies.pop("verifier")
    assert isinstance(reader, Readable)
    assert (reader._model is policies["reporter"]._model) is (finetune == "lora")
    one = verifier(reader)
    everything = {id(p): p for policy in policies.values() for p in policy._model.parameters()}
    own = {id(p) for p in one.trainable().values()}
    assert not own & {id(p) for policy in policies.values() for p in policy.trainable().values()}
    before = {name: p.detach().clone() for name, p in everything.items() if name not in own}
    started = weights(one)
    go(one, [1, 2], count=32)
    assert not same(started, weights(one))
    assert all(torch.equal(p, everything[name]) for name, p in before.items())


def test_what_does_not_fit_its_context_names_the_question():
    one = verifier()
    long = episode(1, 0)
    long.turns[0] = spoken("planner", "w1 " * 600)
    with pytest.raises(DataError, match="the verifier reads") as told:
        one.judge([Group([long])])
    assert told.value.where == "question q1.0"
    assert "512" in told.value.why


def test_damaged_weights_are_told_and_never_become_a_probability():
    one = verifier()
    go(one, [1], count=16)
    with torch.no_grad():
        one.trainable()["head.weight"].fill_(float("nan"))
    with pytest.raises(NotFinite, match="'verifier'"):
        one.judge(played(2, 8))


def test_weights_that_a_refresh_ruined_are_told_before_a_checkpoint_keeps_them():
    """In the second of two steps: in the first only the head learns, which is zero at its start."""
    one = verifier(learning_rate=1e37)
    one.judge(played(1, 2 * BATCH))
    with pytest.raises(NotFinite, match="norm of the updated weights"):
        one.refresh(1)
