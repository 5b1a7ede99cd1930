"""Models as directories, hub ids and pulled names; what is refused, and with which words."""

from __future__ import annotations

import json
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import (
    GatedRepoError,
    IncompleteSnapshotError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers import models as tokenizer_models
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from maporl_cli.agents import models
from maporl_cli.agents.model_files import manifest_faults, models_directory, write_manifest
from maporl_cli.agents.models import eos_ids, load_model, load_tokenizer, resolve
from maporl_cli.agents.tiny import tiny_tokenizer
from maporl_cli.core.errors import ConfigError, MissingError

WORDS = [f"w{index}" for index in range(30)]


def write_model(directory: Path, *, tied: bool = True, shard: str = "1GB") -> Qwen2ForCausalLM:
    tokenizer = tiny_tokenizer(WORDS)
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=64,
            tie_word_embeddings=tied,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    model.save_pretrained(directory, max_shard_size=shard)
    tokenizer.save_pretrained(directory)
    return model.eval()


def change_json(path: Path, **changes: object) -> None:
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    write_model(path)
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return models_directory()


# --- directories


def test_a_whole_directory_is_the_model(directory: Path):
    assert resolve(str(directory)) == directory


def test_the_home_directory_may_be_written_short(directory: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(directory.parent))
    assert resolve("~/model") == directory


@pytest.mark.parametrize(
    ("file", "named"),
    [("config.json", "config.json"), ("model.safetensors", "weights"), ("tokenizer.json", "tokenizer")],
)
def test_a_missing_part_is_named(directory: Path, file: str, named: str):
    (directory / file).unlink()
    with pytest.raises(MissingError, match=named) as caught:
        resolve(str(directory))
    assert str(directory) in caught.value.where
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("keep", [0, 4, 200, -1])
def test_truncated_weights_are_refused_and_named(directory: Path, keep: int):
    weights = directory / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    for use in (lambda: resolve(str(directory)), lambda: load_model(directory, torch.float32)):
        with pytest.raises(MissingError, match=r"model\.safetensors"):
            use()


def test_a_missing_shard_is_refused_and_named(tmp_path: Path):
    path = tmp_path / "sharded"
    write_model(path, shard="8KB")
    shards = sorted(path.glob("model-*.safetensors"))
    assert len(shards) > 1
    assert resolve(str(path)) == path
    shards[1].unlink()
    with pytest.raises(MissingError, match=shards[1].name):
        resolve(str(path))


@pytest.mark.parametrize("content", ["{", "[]", ""])
def test_a_config_that_is_no_json_object_is_named(directory: Path, content: str):
    (directory / "config.json").write_text(content)
    with pytest.raises(MissingError, match=r"config\.json"):
        resolve(str(directory))


@pytest.mark.parametrize("content", ["{}", '{"weight_map": {}}', '{"weight_map": 3}'])
def test_an_index_without_weights_is_named(directory: Path, content: str):
    (directory / "model.safetensors").unlink()
    (directory / "model.safetensors.index.json").write_text(content)
    with pytest.raises(MissingError, match=r"index\.json"):
        resolve(str(directory))


# --- names


def test_a_mistyped_name_is_told_the_nearest():
    with pytest.raises(MissingError, match="smollm2-135m") as caught:
        resolve("smollm-135m")
    assert caught.value.exit_code == 4


def test_a_path_that_is_not_there_is_no_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(models, "snapshot_download", lambda *_, **__: pytest.fail("asked the hub"))
    for name in (str(tmp_path / "nowhere"), "./a/b", "a/b/c"):
        with pytest.raises(MissingError, match="There is no model"):
            resolve(name)


def test_a_known_model_that_was_not_pulled_says_how(cache: Path):
    with pytest.raises(MissingError) as caught:
        resolve("smollm2-135m")
    assert caught.value.fix == "maporl model pull smollm2-135m"
    assert str(cache) in caught.value.where


def pulled(cache: Path) -> Path:
    path = cache / "smollm2-135m"
    write_model(path)
    write_manifest(path, name="smollm2-135m", source="here", version="1")
    return path


def test_a_pulled_model_resolves_to_its_directory(cache: Path):
    path = pulled(cache)
    assert resolve("smollm2-135m") == path
    assert manifest_faults(path, thorough=True) == []


@pytest.mark.parametrize(
    "file",
    ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"],
)
def test_a_truncated_file_of_a_pulled_model_is_refused(cache: Path, file: str):
    path = pulled(cache) / file
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(MissingError, match=file) as caught:
        resolve("smollm2-135m")
    assert caught.value.fix == "maporl model pull smollm2-135m"


@pytest.mark.parametrize("file", ["manifest.json", "generation_config.json"])
def test_a_pulled_model_that_lacks_a_file_is_refused(cache: Path, file: str):
    (pulled(cache) / file).unlink()
    with pytest.raises(MissingError, match=file):
        resolve("smollm2-135m")


def test_a_changed_byte_is_found_by_the_thorough_check_alone(cache: Path):
    path = pulled(cache)
    weights = bytearray((path / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (path / "model.safetensors").write_bytes(weights)
    assert manifest_faults(path, thorough=False) == []
    assert manifest_faults(path, thorough=True) == ["model.safetensors does not match its checksum"]


# --- the hub


class Hub:
    """Stands in for the hub's client: a cache, and what the network answers."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, *, cached: Path | Exception, online: Path | Exception
    ):
        self.downloads = 0
        self._cached, self._online = cached, online
        monkeypatch.setattr(models, "snapshot_download", self._snapshot)
        monkeypatch.setattr(models, "HfApi", lambda: self)

    def model_info(self, repo: str, **_: object) -> None:
        if isinstance(self._online, Exception):
            raise self._online

    def _snapshot(self, repo: str, *, local_files_only: bool = False, **_: object) -> str:
        answer = self._cached if local_files_only else self._online
        self.downloads += not local_files_only
        if isinstance(answer, Exception):
            raise answer
        return str(answer)


def refusal(kind: type[Exception]) -> Exception:
    error = kind.__new__(kind)  # its constructor wants a whole HTTP response
    Exception.__init__(error, "no")
    return error


def test_a_cached_hub_model_needs_no_network(directory: Path, monkeypatch: pytest.MonkeyPatch):
    hub = Hub(monkeypatch, cached=directory, online=ConnectionError("no network"))
    assert resolve("org/name") == directory
    assert hub.downloads == 0


def test_a_hub_model_that_is_not_cached_whole_is_downloaded(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    half = tmp_path / "half"
    half.mkdir()
    (half / "config.json").write_text("{}")
    for cached in (LocalEntryNotFoundError("none"), refusal(IncompleteSnapshotError), half):
        hub = Hub(monkeypatch, cached=cached, online=directory)
        assert resolve("org/name") == directory
        assert hub.downloads == 1


@pytest.mark.parametrize(
    ("online", "says"),
    [
        (ConnectionError("no route"), "no route"),
        (refusal(RepositoryNotFoundError), "no such model"),
        (refusal(GatedRepoError), "accept"),
        (RuntimeError("strange"), "strange"),
    ],
)
def test_a_hub_that_refuses_says_why(online: Exception, says: str, monkeypatch: pytest.MonkeyPatch):
    Hub(monkeypatch, cached=LocalEntryNotFoundError("none"), online=online)
    with pytest.raises(MissingError, match=says) as caught:
        resolve("org/name")
    assert "org/name" in caught.value.what


def test_a_full_disk_is_not_called_a_missing_network(monkeypatch: pytest.MonkeyPatch):
    Hub(monkeypatch, cached=LocalEntryNotFoundError("none"), online=OSError(28, "No space left on device"))
    with pytest.raises(OSError, match="No space left"):
        resolve("org/name")


def test_offline_the_real_client_ends_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingError, match="copy the model's files"):
        resolve("org/name")


# --- loading


@pytest.mark.parametrize("tied", [True, False])
def test_loaded_weights_are_the_saved_ones(tmp_path: Path, tied: bool):
    saved = write_model(tmp_path / "m", tied=tied)
    loaded = load_model(tmp_path / "m", torch.float32)
    assert not loaded.training
    assert loaded.dtype == torch.float32
    ids = torch.tensor([[3, 4, 5]])
    assert torch.equal(saved(ids).logits, loaded(ids).logits)


def test_weights_are_cast_to_the_dtype_asked_for(directory: Path):
    assert {p.dtype for p in load_model(directory, torch.bfloat16).parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("change", ["drop", "reshape"])
def test_weights_left_at_random_are_refused_and_named(directory: Path, change: str):
    name = "model.layers.1.mlp.up_proj.weight"
    weights = load_file(directory / "model.safetensors")
    if change == "drop":
        del weights[name]
    else:
        weights[name] = weights[name][:-1].contiguous()
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(MissingError, match=r"layers\.1\.mlp\.up_proj"):
        load_model(directory, torch.float32)


def test_a_kind_of_model_that_is_unknown_is_refused(directory: Path):
    change_json(directory / "config.json", model_type="perceptron9")
    with pytest.raises(MissingError, match="perceptron9"):
        load_model(directory, torch.float32)


def test_a_tokenizer_loads_with_its_template_and_pad(directory: Path):
    tokenizer = load_tokenizer(directory)
    assert tokenizer.pad_token == "<pad>"
    assert tokenizer.apply_chat_template([{"role": "user", "content": "w1 w2"}], return_dict=False) == [4, 5]


def test_without_a_pad_token_the_end_token_pads(directory: Path):
    change_json(directory / "tokenizer_config.json", pad_token=None)
    tokenizer = load_tokenizer(directory)
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == 1


def test_without_pad_and_end_token_it_is_refused(directory: Path):
    change_json(directory / "tokenizer_config.json", pad_token=None, eos_token=None)
    with pytest.raises(ConfigError, match="neither a pad token"):
        load_tokenizer(directory)


def test_without_a_chat_template_it_is_refused(directory: Path):
    (directory / "chat_template.jinja").unlink()
    with pytest.raises(ConfigError, match="no chat template") as caught:
        load_tokenizer(directory)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("template", ["{% for %}", "{{ raise_exception('only in French') }}", "{{ 1 / 0 }}"])
def test_a_chat_template_that_fails_is_refused(directory: Path, template: str):
    (directory / "chat_template.jinja").write_text(template)
    with pytest.raises(ConfigError, match="template"):
        load_tokenizer(directory)


@pytest.mark.parametrize("content", ["{", "{}", '{"version": "1.0", "model": {}}'])
def test_a_broken_tokenizer_is_refused(directory: Path, content: str):
    (directory / "tokenizer.json").write_text(content)
    with pytest.raises(MissingError, match="tokenizer cannot be read"):
        load_tokenizer(directory)


def test_the_tokenizer_file_wins_over_the_class_it_names(tmp_path: Path):
    """As SmolLM2 is published: GPT2Tokenizer by name, but its file first sets every digit apart."""
    symbols = ["<end>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "ĠĠ"]
    whole = Tokenizer(tokenizer_models.BPE({s: i for i, s in enumerate(symbols)}, [("Ġ", "Ġ")]))
    whole.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    whole.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=whole, eos_token="<end>")
    fast.chat_template = "{{ messages[0]['content'] }}"
    fast.save_pretrained(tmp_path)
    change_json(tmp_path / "tokenizer_config.json", tokenizer_class="GPT2Tokenizer", backend=None)
    ids = load_tokenizer(tmp_path)("x  1")["input_ids"]
    assert [symbols[index] for index in ids] == ["x", "ĠĠ", "1"]


# --- ends of turns


def test_every_end_id_counts(directory: Path):
    model, tokenizer = load_model(directory, torch.float32), load_tokenizer(directory)
    model.generation_config.eos_token_id = [7, 8]
    model.config.eos_token_id = 9
    assert eos_ids(model, tokenizer) == {7, 8, 9, 1}
    model.generation_config.eos_token_id = 0
    model.config.eos_token_id = None
    assert eos_ids(model, tokenizer) == {0, 1}


def test_a_model_whose_turns_cannot_end_is_refused(directory: Path):
    model, tokenizer = load_model(directory, torch.float32), load_tokenizer(directory)
    model.generation_config.eos_token_id = model.config.eos_token_id = None
    tokenizer.eos_token = None
    with pytest.raises(ConfigError, match="end-of-sequence"):
        eos_ids(model, tokenizer)
