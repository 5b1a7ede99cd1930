"""What a policy is made of, counted without weights, against policies with weights."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
import pytest
import torch
from support import WORDS, tiny_policy
from transformers import AutoModelForCausalLM, LlamaConfig, PretrainedConfig, Qwen2Config

from maporl_cli.agents.blueprint import blueprints, draw
from maporl_cli.agents.build import build_policies
from maporl_cli.agents.causal import CausalPolicy
from maporl_cli.agents.policy import register_policy
from maporl_cli.core.config import Config
from maporl_cli.core.errors import ConfigError, MissingError

SMOLLM2 = LlamaConfig(
    vocab_size=49152,
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    num_key_value_heads=3,
    tie_word_embeddings=True,
    max_position_embeddings=8192,
)
QWEN = Qwen2Config(
    vocab_size=151936,
    hidden_size=896,
    intermediate_size=4864,
    num_hidden_layers=24,
    num_attention_heads=14,
    num_key_value_heads=2,
    tie_word_embeddings=True,
    max_position_embeddings=32768,
)


def config(*agents: str, **model) -> Config:
    return Config.model_validate({"team": {"agents": [{"name": name} for name in agents]}, "model": model})


def drawn(shape: PretrainedConfig, settings: Config, dtype: torch.dtype = torch.float32):
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(shape, dtype=dtype)
        return draw(model, settings, settings.team.agents[0], "model")


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model")
    tiny_policy(1).save(path)
    return path


def stored(policy: CausalPolicy) -> int:
    """Bytes of everything that the policy's model keeps, each piece of memory once."""
    tensors = [*policy._model.parameters(), *policy._model.buffers()]
    return sum({t.data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


@pytest.mark.parametrize(("shape", "published"), [(SMOLLM2, 134_515_008), (QWEN, 494_032_768)])
def test_as_many_parameters_as_published(shape, published):
    found = drawn(shape, config("planner", name="model"))
    assert found.learning == published
    assert found.own_bytes == pytest.approx(4 * published, abs=1000)  # the rotation's tables
    assert found.shared_bytes == 0


def test_the_shape_of_a_model():
    found = drawn(QWEN, config("planner", name="model"))
    assert (found.layers, found.hidden, found.intermediate) == (24, 896, 4864)
    assert (found.heads, found.key_value_heads, found.head_width) == (14, 2, 64)
    assert (found.vocabulary, found.context, found.tied) == (151_936, 32_768, True)


def test_lora_by_hand():
    """r (in + out) a matrix: q and o 576 × 576, k and v 576 × 192, gate, up and down 576 × 1536."""
    a_layer = 2 * (576 + 576) + 2 * (576 + 192) + 3 * (576 + 1536)
    found = drawn(SMOLLM2, config("planner", name="model", finetune="lora", lora_r=8), torch.bfloat16)
    assert found.learning == 30 * 8 * a_layer
    assert found.own_bytes == 4 * found.learning
    assert found.learning_tensors == 30 * 7 * 2
    assert found.shared_bytes == pytest.approx(2 * 134_515_008, abs=1000)


def test_autocast_copies_what_learns_and_is_multiplied():
    half = drawn(SMOLLM2, config("planner", name="model", dtype="bf16"))
    norms = 61 * 576
    assert half.cast == half.learning - norms
    assert half.compute == 2
    assert drawn(SMOLLM2, config("planner", name="model", dtype="fp32")).cast == 0


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("finetune", ["full", "lora"])
def test_a_model_from_a_directory_as_it_is_built(saved, finetune, dtype):
    settings = config("planner", name=str(saved), finetune=finetune, dtype=dtype, lora_r=3)
    (found,) = blueprints(settings).values()
    built = build_policies(settings, None, torch.device("cpu"), lambda _: None, ["planner"])["planner"]
    learning = built.trainable().values()
    assert isinstance(built, CausalPolicy)
    assert found.shared_bytes + found.own_bytes == stored(built)
    assert found.learning == sum(parameter.numel() for parameter in learning)
    assert found.learning_tensors == len(learning)


def test_tiny_policies_as_they_are_built():
    settings = config("planner")
    (found,) = blueprints(settings).values()
    assert found.model == "tiny"
    built = build_policies(settings, WORDS, torch.device("cpu"), lambda _: None, ["planner"])["planner"]
    assert isinstance(built, CausalPolicy)
    other_words = 64 * (found.vocabulary - len(built.tokenizer))
    assert found.learning == sum(parameter.numel() for parameter in built.trainable().values()) + other_words
    assert found.context == 512


def test_one_for_each_model(saved):
    team = {"agents": [{"name": "planner"}, {"name": "analyst", "model": str(saved)}, {"name": "reporter"}]}
    found = blueprints(Config.model_validate({"team": team}))
    assert list(found) == ["tiny", str(saved)]
    assert found[str(saved)].vocabulary == len(WORDS) + 3


def test_fp16_is_planned_for_without_a_gpu(saved):
    (found,) = blueprints(config("planner", name=str(saved), dtype="fp16")).values()
    assert found.compute == 2


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def refuse(*_, **__):
        raise AssertionError("asked the hub")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", refuse)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", ["smollm2-135m", "nobody/has-this-model"])
def test_a_model_that_is_not_here_is_not_brought(name):
    with pytest.raises(MissingError, match="not on this machine yet") as told:
        blueprints(config("planner", name=name))
    assert told.value.fix == f"maporl model pull {name}"


def test_a_config_that_is_none(saved, tmp_path):
    for path in saved.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "config.json").write_text('{"model_type": "abacus"}')
    with pytest.raises(MissingError, match=r"config\.json cannot be used.*\n(.*\n)*Fix: ") as told:
        blueprints(config("planner", name=str(tmp_path)))
    assert told.value.where == str(tmp_path)


def test_tiny_policies_need_words_and_learn_whole():
    with pytest.raises(ConfigError, match="Tiny policies"):
        blueprints(Config.model_validate({"data": {"train": "mine.jsonl"}}))
    with pytest.raises(ConfigError, match="trained whole"):
        blueprints(config("planner", finetune="lora"))


def test_a_plugin_keeps_what_it_builds_to_itself():
    register_policy("secret", lambda _: tiny_policy())
    with pytest.raises(MissingError, match="'secret'"):
        blueprints(config("planner", name="secret"))
