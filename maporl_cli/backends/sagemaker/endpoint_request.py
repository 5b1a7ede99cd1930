"""The three requests that make an endpoint: CreateModel, CreateEndpointConfig, CreateEndpoint.

All three things have the endpoint's name, so that who knows it can delete all of it.
"""

# The SDK leaves its signatures untyped.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from maporl_cli.backends.sagemaker.images import aws_image
from maporl_cli.core.config_sagemaker import SageMakerConfig

_TRANSFORMERS, _TORCH, _PYTHON = "5.5.3", "pytorch2.6.0", "py312"
"""Of the newest of AWS's Hugging Face inference images that the SDK knows. All others have transformers 4,
and what saved the team was 5 or newer. AWS's PyTorch inference images end at the same torch, without any."""
STARTING = 1800
"""Seconds that the container may take to install its requirements and load the team."""
ANSWERING = 3600
"""Seconds that an answer may take, the most that an asynchronous endpoint allows. The model server gives
loading the team as long, and kills a worker that takes longer, which then loads it anew: so it is as long for
a real-time endpoint, though whoever asks it hears nothing after 60 seconds."""
MODEL_SERVER = {
    "SAGEMAKER_MODEL_SERVER_WORKERS": "1",  # each loads the team
    "SAGEMAKER_MODEL_SERVER_TIMEOUT": str(ANSWERING),
}
"""The container's own variables."""
_OWN_DISK = re.compile(r"ml\.(g[4-9]|gr|p[4-9]|p3dn|trn|[a-z]+\d[a-z]*d)[a-z0-9-]*\.")
"""Types with a disk in the machine. It is encrypted by itself, and SageMaker refuses a key for it
(CreateEndpointConfig, `KmsKeyId`)."""


def endpoint_requests(
    settings: SageMakerConfig,
    *,
    name: str,
    image: str,
    model: str,
    answers: str | None,
    tags: Mapping[str, str],
) -> dict[str, dict[str, Any]]:
    """The requests by their operations, in the order in which they are sent.

    Args:
        settings: with a role's ARN.
        model: the address of `model.tar.gz`.
        answers: the address below which answers are put, of an asynchronous endpoint; None: a real-time one.
        tags: beside those of the config.
    """
    labels = [{"Key": key, "Value": value} for key, value in {**settings.tags, **tags}.items()]
    key = settings.kms_key
    creating: dict[str, Any] = {
        "ModelName": name,
        "ExecutionRoleArn": str(settings.role),
        "PrimaryContainer": {
            "Image": image,
            "ModelDataUrl": model,
            "Environment": {**settings.environment, **MODEL_SERVER},
        },
        "Tags": labels,
    }
    if settings.subnets:
        creating["VpcConfig"] = {
            "Subnets": list(settings.subnets),
            "SecurityGroupIds": list(settings.security_groups),
        }
    configuring: dict[str, Any] = {
        "EndpointConfigName": name,
        "ProductionVariants": [
            {
                "VariantName": "team",
                "ModelName": name,
                "InitialInstanceCount": 1,
                "InstanceType": settings.inference_instance,
                "ModelDataDownloadTimeoutInSeconds": STARTING,
                "ContainerStartupHealthCheckTimeoutInSeconds": STARTING,
            }
        ],
        "Tags": labels,
    }
    if key is not None and _OWN_DISK.match(settings.inference_instance) is None:
        configuring["KmsKeyId"] = key
    if answers is not None:
        configuring["AsyncInferenceConfig"] = {
            "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 1},  # as many as there are workers
            "OutputConfig": {"S3OutputPath": f"{answers}/answers", "S3FailurePath": f"{answers}/failures"}
            | ({} if key is None else {"KmsKeyId": key}),
        }
    return {
        "CreateModel": creating,
        "CreateEndpointConfig": configuring,
        "CreateEndpoint": {"EndpointName": name, "EndpointConfigName": name, "Tags": labels},
    }


def inference_image(region: str, instance: str) -> str:
    """AWS's Hugging Face inference image.

    Raises:
        ConfigError: there is none for the region or instance.
    """
    versions = {"version": _TRANSFORMERS, "base_framework_version": _TORCH, "py_version": _PYTHON}
    key = "sagemaker.inference_image"
    return aws_image("huggingface", "inference", region, instance, key=key, **versions)
