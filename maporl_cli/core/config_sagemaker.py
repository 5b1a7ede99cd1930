"""The config's section of jobs on Amazon SageMaker, with the bounds that AWS sets (API CreateTrainingJob)."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from maporl_cli.core.config_section import Section
from maporl_cli.core.secrecy import is_secret, tells_a_secret


def _as_text(value: object) -> object:
    """YAML reads `1` and `false` as what they are not in an environment."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


Text = Annotated[str, BeforeValidator(_as_text)]
VariableText = Annotated[Text, Field(max_length=512)]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,511}$")]
TagKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9_ .:/=+@-]{1,128}$")]
TagValue = Annotated[Text, Field(pattern=r"^[A-Za-z0-9_ .:/=+@-]{0,256}$")]
Instance = Annotated[str, Field(pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9]+$")]
Role = Annotated[str, Field(pattern=r"^(arn:aws[a-z-]*:iam::\d{12}:role/\S+|[\w+=,.@-]{1,64})$")]
_LONGEST_JOB = 28 * 86_400
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,32}$")]


class SageMakerConfig(Section):
    """The jobs of `maporl train --on sagemaker`, and the endpoints of `maporl deploy`."""

    instance: Instance = "ml.g5.12xlarge"
    instances: Annotated[int, Field(ge=1, le=512)] = 1
    role: Role | None = None
    """The execution role: its ARN, or its name."""
    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")] | None = None
    """Where code, data, checkpoints and results go."""
    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")] = "maporl"
    """What keys in the bucket begin with."""
    region: str | None = None
    """None: as the AWS configuration says."""
    image: Annotated[str, Field(pattern=r"^\w\S{0,254}$")] | None = None
    """The container; None: AWS's PyTorch training image."""
    inference_instance: Instance = "ml.g5.2xlarge"
    """Of an endpoint. It costs until it is deleted, so the default is a smaller one."""
    inference_image: Annotated[str, Field(pattern=r"^\w\S{0,254}$")] | None = None
    """An endpoint's container; None: AWS's Hugging Face inference image."""
    spot: bool = False
    """Spare capacity at a lower price, which AWS may take back: the job goes on from its last checkpoint."""
    max_runtime: Annotated[int, Field(ge=1, le=_LONGEST_JOB)] = 86_400
    """Seconds that a job may train."""
    max_wait: Annotated[int, Field(ge=1, le=_LONGEST_JOB)] | None = None
    """Seconds that a spot job may train and wait for capacity together; None: twice
    `max_runtime`, as far as AWS lets a job wait."""
    keep_alive: Annotated[int, Field(ge=0, le=3600)] = 0
    """Seconds that the instances stay, and cost, for another job after the end."""
    volume_size: Annotated[int, Field(ge=1, le=16_384)] = 100
    """GB of disk an instance, where its type has none of its own."""
    subnets: Annotated[tuple[Identifier, ...], Field(max_length=16)] = ()
    security_groups: Annotated[tuple[Identifier, ...], Field(max_length=5)] = ()
    encrypt_traffic: bool = False
    """Between the instances."""
    kms_key: Annotated[str, Field(pattern=r"^[A-Za-z0-9:/_-]{1,2048}$")] | None = None
    """Encrypts what is uploaded, the results, and the disk of an endpoint that has none of its own."""
    tags: Annotated[dict[TagKey, TagValue], Field(max_length=40)] = Field(default_factory=dict)
    environment: Annotated[dict[Variable, VariableText], Field(max_length=100)] = Field(default_factory=dict)
    """Variables of the container, such as PYTORCH_CUDA_ALLOC_CONF; never a secret."""
    secrets: dict[Variable, Annotated[str, Field(min_length=1)]] = Field(default_factory=dict)
    """Variables whose values AWS Secrets Manager keeps: WANDB_API_KEY: the secret's name or ARN."""

    @property
    def longest(self) -> int:
        """Seconds that an instance costs at most."""
        return self.max_runtime + self.keep_alive

    @property
    def waits(self) -> int | None:
        """Seconds that a spot job may take, waiting included; None: it does not wait."""
        if not self.spot:
            return None
        return self.max_wait or min(2 * self.max_runtime, _LONGEST_JOB)

    @model_validator(mode="after")
    def _possible(self) -> SageMakerConfig:
        for name in [name for name, value in self.environment.items() if tells_a_secret(name, value)]:
            raise ValueError(
                f"environment would show {name} to everybody who may see the job; keep it in AWS Secrets "
                f"Manager, and give sagemaker.secrets.{name} the secret's name"
            )
        for name in [name for name, value in self.tags.items() if tells_a_secret(name, value)]:
            raise ValueError(
                f"tags would show {name} to everybody who may see the job; leave it out, or call it "
                "otherwise if it is no secret"
            )
        for name in [name for name in self.tags if name.lower().startswith("aws:")]:
            raise ValueError(f"tags has {name}, and names that begin with aws: are for AWS alone; rename it")
        for name in [name for name, value in self.secrets.items() if is_secret(value)]:
            raise ValueError(
                f"secrets.{name} is the secret itself; give the name that Secrets Manager has for it"
            )
        if self.spot and self.keep_alive:
            raise ValueError("a spot job cannot keep its instances: sagemaker.keep_alive=0 or spot=false")
        if self.max_wait is not None and not self.spot:
            raise ValueError("only a spot job waits: leave max_wait out, or sagemaker.spot=true")
        if self.max_wait is not None and self.max_wait < self.max_runtime:
            raise ValueError(
                f"max_wait {self.max_wait} counts training and waiting, so it cannot be less than "
                f"max_runtime {self.max_runtime}"
            )
        if bool(self.subnets) != bool(self.security_groups):
            raise ValueError("subnets and security_groups go together: give both, or neither")
        return self
