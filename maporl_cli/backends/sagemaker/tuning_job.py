"""A tuning job: many training jobs, whose values SageMaker chooses.

SageMaker starts them without an entrypoint of their own, so the image's `train` program is the first. It
finds the code where the channel `code` lies, installs its requirements, and runs `trial.py`, which starts the
ranks as any job does. The SDK's tuner is not asked: it would send values as Python writes them and local
paths as addresses, and leave out encryption, kept instances and tags.
"""

# boto3 leaves its signatures untyped.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from boto3.session import Session

from maporl_cli.backends.sagemaker.bundle import TRIAL
from maporl_cli.backends.sagemaker.jobs import Job
from maporl_cli.backends.sagemaker.paths import CODE_CHANNEL, channel
from maporl_cli.core.config import Config
from maporl_cli.core.errors import MaporlError, MissingError
from maporl_cli.data.aws import aws_client, aws_errors

_STRATEGIES = {"bayesian": "Bayesian", "random": "Random", "hyperband": "Hyperband"}
_LONGEST_NAME = 32
ENDED = frozenset({"Completed", "Failed", "Stopped", "DeleteFailed"})


def tuning_request(config: Config, job: Mapping[str, Any], ranges: Mapping[str, Any]) -> dict[str, Any]:
    """The CreateHyperParameterTuningJob request for trials that train as a training job would.

    Args:
        config: of the study.
        job: the CreateTrainingJob request of such a job, whose inputs were sent.
        ranges: what is searched, as the API's ParameterRanges.
    """
    tune = config.tune
    alike = (
        *("RoleArn", "InputDataConfig", "VpcConfig", "OutputDataConfig", "ResourceConfig", "Environment"),
        *("StoppingCondition", "CheckpointConfig", "EnableManagedSpotTraining", "EnableNetworkIsolation"),
        "EnableInterContainerTrafficEncryption",
    )
    image = job["AlgorithmSpecification"]
    trial = {
        "AlgorithmSpecification": {
            key: image[key] for key in ("TrainingImage", "TrainingInputMode", "MetricDefinitions")
        },
        # As JSON, which is how the image's program reads them.
        "StaticHyperParameters": {
            "sagemaker_program": json.dumps(TRIAL),
            "sagemaker_submit_directory": json.dumps(str(channel(CODE_CHANNEL))),
            "sagemaker_container_log_level": "20",
        },
        **{key: job[key] for key in alike if key in job},
    }
    request = {
        "HyperParameterTuningJobName": tuning_name(job["TrainingJobName"]),
        "HyperParameterTuningJobConfig": {
            "Strategy": _STRATEGIES[tune.strategy],
            "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": tune.objective},
            "ResourceLimits": {
                "MaxNumberOfTrainingJobs": tune.max_trials,
                "MaxParallelTrainingJobs": tune.parallel or 1,
            },
            "ParameterRanges": ranges,
            # Hyperband stops trials by itself.
            "TrainingJobEarlyStoppingType": "Auto"
            if tune.early_stopping and tune.strategy != "hyperband"
            else "Off",
            "RandomSeed": config.run.seed % 2**31,
        },
        "TrainingJobDefinition": trial,
        "Tags": job["Tags"],
    }
    if tune.strategy == "hyperband":
        # It counts how often a trial tells its accuracy: before training, at each part, and at the end.
        bounds = {"MinResource": 1, "MaxResource": tune.evaluations + 2}
        request["HyperParameterTuningJobConfig"]["StrategyConfig"] = {"HyperbandStrategyConfig": bounds}
    if tune.warm_start:
        parents = [{"HyperParameterTuningJobName": name} for name in tune.warm_start]
        request["WarmStartConfig"] = {
            "ParentHyperParameterTuningJobs": parents,
            "WarmStartType": "TransferLearning",  # the ranges, and what is not searched, may differ
        }
    return request


def tuning_name(job: str) -> str:
    """The name of a tuning job, which is shorter than that of a training job may be."""
    if len(job) <= _LONGEST_NAME:
        return job
    # Two studies whose names begin alike are two tuning jobs.
    whole = hashlib.sha256(job.encode()).hexdigest()[:8]
    return f"{job[: _LONGEST_NAME - 9].rstrip('-')}-{whole}"


def create_tuning_job(session: Session, request: Mapping[str, Any]) -> None:
    """Start it.

    Raises:
        MaporlError: AWS refuses; nothing runs then, and nothing costs.
    """
    name = request["HyperParameterTuningJobName"]

    def taken(message: str) -> MaporlError:
        return MissingError(
            f"There is a tuning job {name} already.",
            why=message,
            fix="another --name; --resume watches that one, and brings home what it finds",
        )

    def refused(message: str) -> MaporlError:
        return MissingError(
            "SageMaker refuses the tuning job.",
            where=name,
            why=message,
            fix="correct what the reason names; of quotas, ask for more in the AWS console",
        )

    telling = dict.fromkeys(("ResourceLimitExceeded", "ValidationException", "ResourceNotFound"), refused)
    with aws_errors(f"tuning job {name}", {**telling, "ResourceInUse": taken}):
        aws_client(session, "sagemaker").create_hyper_parameter_tuning_job(**request)


def described_tuning(session: Session, name: str) -> dict[str, Any]:
    """What SageMaker says of a tuning job.

    Raises:
        MissingError: there is none of that name.
        MaporlError: as `aws_errors`.
    """

    def unknown(_: str) -> MaporlError:
        return MissingError(
            f"There is no tuning job {name}.",
            where=f"SageMaker in {session.region_name}",
            fix="maporl tune --on sagemaker starts one; correct --name, or --region",
        )

    with aws_errors(
        f"the tuning job {name}", dict.fromkeys(("ValidationException", "ResourceNotFound"), unknown)
    ):
        return aws_client(session, "sagemaker").describe_hyper_parameter_tuning_job(
            HyperParameterTuningJobName=name
        )


def stop_tuning(session: Session, name: str) -> None:
    """Ask SageMaker to stop a tuning job, and with it all of its trials.

    Raises:
        MaporlError: as `aws_errors`.
    """
    with aws_errors(f"the tuning job {name}"):
        aws_client(session, "sagemaker").stop_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)


def trials_of(session: Session, name: str) -> Sequence[Job]:
    """The training jobs of a tuning job, in the order in which they were made.

    Raises:
        MaporlError: as `aws_errors`.
    """
    client = aws_client(session, "sagemaker")
    with aws_errors(f"the trials of {name}"):
        pages = client.get_paginator("list_training_jobs_for_hyper_parameter_tuning_job").paginate(
            HyperParameterTuningJobName=name, SortBy="CreationTime", SortOrder="Ascending"
        )
        names = [one["TrainingJobName"] for page in pages for one in page["TrainingJobSummaries"]]
        return [Job(client.describe_training_job(TrainingJobName=one), {}) for one in names]
