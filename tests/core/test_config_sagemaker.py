"""The section `sagemaker`: what AWS would refuse, or everybody could read, is refused with the config."""

from __future__ import annotations

import pytest

from maporl_cli.core.config_sagemaker import SageMakerConfig
from maporl_cli.core.config_sources import load_config
from maporl_cli.core.errors import ConfigError


def refused(*sets: str) -> str:
    with pytest.raises(ConfigError) as found:
        load_config(sets=sets)
    return found.value.message


@pytest.mark.parametrize(
    ("sets", "says"),
    [
        (("sagemaker.kms_key=not a key",), "sagemaker.kms_key cannot be"),
        (("sagemaker.image=has space",), "sagemaker.image cannot be"),
        (("sagemaker.image=''",), "sagemaker.image cannot be"),
        ((f"sagemaker.environment.A={'x' * 513}",), "at most 512"),
        (
            (f"sagemaker.subnets={[f's-{n}' for n in range(17)]}", "sagemaker.security_groups=[g]"),
            "at most 16",
        ),
        (("sagemaker.subnets=[s]", f"sagemaker.security_groups={[f'g-{n}' for n in range(6)]}"), "at most 5"),
        (("sagemaker.subnets=[bad subnet]", "sagemaker.security_groups=[g]"), "sagemaker.subnets cannot be"),
        (("sagemaker.tags={'aws:x': y}",), "tags has aws:x"),
        (("sagemaker.environment.DB_PASS=x",), "give sagemaker.secrets.DB_PASS the secret's name"),
        (("sagemaker.tags.db_pass=x",), "tags would show db_pass"),
        (("sagemaker.secrets.WANDB_API_KEY=github_pat_x",), "secrets.WANDB_API_KEY is the secret itself"),
    ],
)
def test_what_cannot_be_sent_is_refused_here(sets: tuple[str, ...], says: str) -> None:
    told = refused(*sets)
    assert says in told
    assert ("Secrets Manager" in told) is ("tags" not in told and ("PASS" in told or "WANDB" in told))


@pytest.mark.parametrize(
    "sets",
    [
        ("sagemaker.environment.WANDB_API_KEY=[hunter2]",),
        ("sagemaker.environment=hunter2",),
        ("sagemaker.environment={DB_PASSWORD: hunter2, A-B: 1}",),
        ("sagemaker.secrets.WANDB_API_KEY={hunter2: 1}",),
        ("sagemaker.tags={a: 'hunter2*'}",),
        ("sagemaker.tags={a: 'hunter2*'}", "run.seed=-1"),
        ("sagemaker.environment={DB_PASSWORD: hunter2}", "run.seed=-1"),
    ],
)
def test_no_complaint_shows_a_value_that_may_be_a_secret(sets: tuple[str, ...]) -> None:
    told = refused(*sets)
    assert "hunter2" not in told
    assert "sagemaker" in told


def test_a_spot_job_waits_as_long_again_as_it_trains_but_no_longer_than_aws_lets_it() -> None:
    assert SageMakerConfig(spot=True, max_runtime=7200).waits == 14_400
    assert SageMakerConfig(spot=True, max_runtime=2_000_000).waits == 28 * 86_400
    assert SageMakerConfig(spot=True, max_runtime=7200, max_wait=7300).waits == 7300
    assert SageMakerConfig().waits is None
