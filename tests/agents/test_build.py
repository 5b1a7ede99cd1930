"""From config to policies and team."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from support import WORDS, floor, tiny_policy

from maporl_cli.agents.build import build_policies, build_team, compute_dtype, default_device
from maporl_cli.agents.policy import OutOfMemory, register_policy
from maporl_cli.core.config import Config
from maporl_cli.core.errors import ConfigError, MissingError
from maporl_cli.core.randomness import Sampled
from maporl_cli.core.types import Episode, Question

CPU = torch.device("cpu")


def config(*names: str, model: dict | None = None, **sections) -> Config:
    seats = [{"name": name, "max_new_tokens": 4 + index} for index, name in enumerate(names)]
    return Config.model_validate(
        {
            "team": {"agents": seats, **sections.pop("team", {})},
            "model": model or {"name": "tiny"},
            **sections,
        }
    )


def build(settings: Config, vocabulary=WORDS):
    names = [seat.name for seat in settings.team.agents]
    return build_policies(settings, vocabulary, CPU, lambda _: None, names)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model")
    tiny_policy(1).save(path)
    return path


def weights(policy):
    return {name: parameter.detach().clone() for name, parameter in policy.trainable().items()}


def test_tiny_policies_start_equal_and_learn_apart():
    policies = build(config("planner", "analyst"))
    assert list(policies) == ["planner", "analyst"]
    start = weights(policies["planner"])
    assert all(torch.equal(start[name], other) for name, other in weights(policies["analyst"]).items())
    with torch.no_grad():
        for parameter in policies["planner"].trainable().values():
            parameter.add_(1.0)
    assert all(torch.equal(start[name], other) for name, other in weights(policies["analyst"]).items())


def test_too_little_memory_for_the_policies_names_their_agents(monkeypatch):
    def too_large(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr("maporl_cli.agents.build.tiny_model", too_large)
    with pytest.raises(OutOfMemory, match="'planner, analyst'") as told:
        build(config("planner", "analyst"))
    assert told.value.where == "loading its policy"
    assert "model.finetune=lora" in told.value.fix


def test_the_runs_seed_decides_tiny_weights():
    one, same, other = (
        weights(build(config("planner", run={"seed": seed}))["planner"]) for seed in (1, 1, 2)
    )
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_tiny_without_a_vocabulary():
    with pytest.raises(ConfigError, match="Tiny policies") as told:
        build(config("planner", data={"train": "mine.jsonl"}), vocabulary=None)
    assert "'mine.jsonl'" in told.value.why
    assert "smollm2" in told.value.fix


def test_a_full_policy_each_from_a_directory(saved):
    policies = build(config("planner", "analyst", model={"name": str(saved)}))
    start = weights(tiny_policy(1))
    for policy in policies.values():
        assert all(torch.equal(start[name], weight) for name, weight in weights(policy).items())
        assert {weight.dtype for weight in weights(policy).values()} == {torch.float32}
    with torch.no_grad():
        next(iter(policies["planner"].trainable().values())).add_(1.0)
    assert all(torch.equal(start[name], weight) for name, weight in weights(policies["analyst"]).items())


class CountedWeights:
    """A weights file of transformers that counts how often each of its tensors is read."""

    def __init__(self, path: str, reads: Counter[str], **options: Any) -> None:
        opened: Any = safe_open(path, **options)
        self._file = opened.__enter__()
        self._reads = reads

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def get_tensor(self, name: str) -> torch.Tensor:
        self._reads[name] += 1
        return self._file.get_tensor(name)

    def get_slice(self, name: str) -> Any:
        return CountedSlice(self._file.get_slice(name), name, self._reads)


class CountedSlice:
    """A tensor that is not read before it is indexed."""

    def __init__(self, inner: Any, name: str, reads: Counter[str]) -> None:
        self._inner, self._name, self._reads = inner, name, reads

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __getitem__(self, index: Any) -> torch.Tensor:
        self._reads[self._name] += 1
        return self._inner[index]


@pytest.mark.parametrize("finetune", ["full", "lora"])
def test_four_agents_of_one_base_read_its_weights_once(saved, monkeypatch, finetune):
    reads: Counter[str] = Counter()
    opening = lambda path, **options: CountedWeights(path, reads, **options)  # noqa: E731
    monkeypatch.setattr("transformers.modeling_utils.safe_open", opening)
    team = ("planner", "researcher", "analyst", "reporter")
    policies = build(config(*team, model={"name": str(saved), "finetune": finetune}))
    assert list(policies) == list(team)
    with safe_open(saved / "model.safetensors", framework="pt") as weights_file:
        assert reads == dict.fromkeys(weights_file.keys(), 1)


def test_lora_is_one_frozen_base_with_an_adapter_an_agent(saved):
    settings = config("planner", "analyst", model={"name": str(saved), "finetune": "lora", "lora_r": 3})
    planner, analyst = build(settings).values()
    assert planner._model is analyst._model
    for policy in (planner, analyst):
        assert all("lora_" in name for name in policy.trainable())
        assert all(3 in parameter.shape for parameter in policy.trainable().values())
    ours, theirs = ({id(p) for p in policy.trainable().values()} for policy in (planner, analyst))
    assert not ours & theirs
    base = [p for name, p in planner._model.named_parameters() if "lora_" not in name]
    assert base
    assert not any(parameter.requires_grad for parameter in base)
    # an adapter starts as nothing (B = 0), from noise of its own (A)
    prompt, completion = [(3, 4)], [(5, 6)]
    start = tiny_policy(1).score(prompt, completion, temperature=1.0).logprobs
    assert torch.allclose(planner.score(prompt, completion, temperature=1.0).logprobs, start, atol=1e-5)
    noise = next(name for name in planner.trainable() if "lora_A" in name)
    assert not torch.equal(planner.trainable()[noise], analyst.trainable()[noise])


def test_adapters_depend_on_the_seed_and_the_name_not_on_their_order(saved):
    model = {"name": str(saved), "finetune": "lora"}
    one = build(config("planner", "analyst", model=model))
    two = build(config("analyst", "planner", model=model))
    other = build(config("analyst", "planner", model=model, run={"seed": 5}))
    for agent in ("planner", "analyst"):
        same = [torch.equal(a, b) for a, b in zip(weights(one[agent]).values(), weights(two[agent]).values())]  # noqa: B905
        assert all(same)
        assert not all(
            torch.equal(weights(one[agent])[n], weights(other[agent])[n]) for n in weights(one[agent])
        )


def test_a_half_precision_base_keeps_fp32_adapters(saved):
    settings = config("planner", model={"name": str(saved), "finetune": "lora", "dtype": "bf16"})
    policy = build(settings)["planner"]
    assert {weight.dtype for weight in weights(policy).values()} == {torch.float32}
    full = build(config("planner", model={"name": str(saved), "dtype": "bf16"}))["planner"]
    assert {weight.dtype for weight in weights(full).values()} == {torch.float32}


def test_agents_may_have_models_of_their_own(saved):
    settings = Config.model_validate(
        {"team": {"agents": [{"name": "planner"}, {"name": "analyst", "model": str(saved)}]}}
    )
    policies = build(settings)
    assert len(policies["planner"].tokenizer) == len(policies["analyst"].tokenizer)
    assert torch.equal(
        weights(policies["analyst"])["model.norm.weight"], weights(tiny_policy(1))["model.norm.weight"]
    )
    name = "model.embed_tokens.weight"
    assert torch.equal(weights(policies["analyst"])[name], weights(tiny_policy(1))[name])
    assert not torch.equal(weights(policies["planner"])[name], weights(policies["analyst"])[name])


def test_a_model_that_is_not_there(tmp_path):
    with pytest.raises(MissingError, match="Fix:"):
        build(config("planner", model={"name": str(tmp_path)}))


def test_a_plugin_builds_its_policies_by_agent_name():
    asked = []

    def builder(agent: str):
        asked.append(agent)
        return tiny_policy(7)

    register_policy("plugin-for-a-test", builder)
    policies = build(config("planner", "analyst", model={"name": "plugin-for-a-test"}), vocabulary=None)
    assert asked == ["planner", "analyst"]
    assert list(policies) == ["planner", "analyst"]


def test_compute_dtype():
    assert compute_dtype("auto", CPU) is torch.float32
    assert compute_dtype("fp32", CPU) is torch.float32
    assert compute_dtype("bf16", CPU) is torch.bfloat16
    assert compute_dtype("fp16", torch.device("cuda")) is torch.float16
    with pytest.raises(MissingError, match="fp16") as told:
        compute_dtype("fp16", CPU)
    assert told.value.exit_code == 4
    assert "model.dtype" in told.value.where


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a machine without a GPU")
def test_default_device():
    assert default_device() == CPU


def test_the_team_takes_seats_roles_and_limits_from_the_config():
    settings = Config.model_validate(
        {
            "team": {
                "agents": [
                    {"name": "planner", "max_new_tokens": 3, "temperature": 0.7},
                    {"name": "reporter", "max_new_tokens": 5},
                ],
                "max_rounds_per_episode": 2,
                "evidence": "none",
            },
        }
    )
    team = build_team(settings, build(settings), floor())
    assert [(agent.name, agent.max_new_tokens, agent.temperature) for agent in team.agents] == [
        ("planner", 3, 0.7),
        ("reporter", 5, 1.0),
    ]
    assert team.agents[1].role.sees == ("question", "options")
    episode = Episode(Question("q", "w1 w2", {"A": "w3", "B": "w4"}, "A"), 0, 1)
    team.play([episode], Sampled(0))
    assert len(episode.turns) == 4
    assert all(len(turn.token_ids) <= 5 for turn in episode.turns)


def test_a_seat_without_a_role():
    settings = config("planner", "juggler")
    with pytest.raises(ConfigError, match="juggler"):
        build_team(settings, build(settings), floor())
