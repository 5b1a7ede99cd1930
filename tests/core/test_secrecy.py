"""What is taken for a secret, and what is not."""

from __future__ import annotations

import pytest

from maporl_cli.core.secrecy import is_secret, tells_a_secret

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    "name",
    (
        "WANDB_API_KEY WANDB_APIKEY wandb_key apiKey HF_TOKEN HF_AUTH DB_PASS DB_PASSWD PGPASSWORD "
        "PASSPHRASE awsSecretAccessKey AWS_ACCESS_KEY_ID API_KEY_2 GITHUB_PAT my-credentials client.secret"
    ).split(),
)
def test_a_name_can_say_that_it_is_one(name: str) -> None:
    assert tells_a_secret(name, "x")
    assert tells_a_secret(f"GIT_{name}", COMMIT)


@pytest.mark.parametrize(
    "value",
    [
        COMMIT,
        "wandb_v1_abc",
        "github_pat_11ABC",
        "ghp_abc",
        "glpat-abc",
        "xoxb-123",
        "hf_abcdefghijklmnopqrst",
        " hf_abcdefghijklmnopqrst",
        "sk-abcdefghijklmnopqrst",
        "AKIAIOSFODNN7EXAMPLE",
        "ASIAIOSFODNN7EXAMPLE",
        "-----BEGIN RSA PRIVATE KEY-----",
        "eyJhbGciOiJIUzI1NiJ9.e.s",
        "postgres://u:p@h/db",
        "http://u:p@ss@h",
        "https://token@host/",
    ],
)
def test_a_value_can_look_like_one(value: str) -> None:
    assert tells_a_secret("X", value)
    assert is_secret(value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("commit", COMMIT),
        ("GIT_COMMIT", COMMIT),
        ("SORT_KEY", "name"),
        ("CACHE_KEY", "v1"),
        ("MODEL", "sk-learn"),
        ("HF_HUB_ENABLE_HF_TRANSFER", "hf_transfer"),
        ("TOKENIZERS_PARALLELISM", "false"),
        ("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True"),
        ("DATA", "s3://bucket/a@b"),
        ("REPOSITORY", "ssh://git@host/x"),
        ("PASSES", "3"),
        ("KEYBOARD", "x"),
    ],
)
def test_what_is_none_is_let_through(name: str, value: str) -> None:
    assert not tells_a_secret(name, value)
