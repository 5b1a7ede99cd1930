"""Starts a training job on Amazon SageMaker from Python, as a notebook would.

    python examples/launch_sagemaker.py ROLE BUCKET DOLLARS

It trains the preset `clinic` for ten steps on one A10G, and starts nothing that may cost more than DOLLARS.
It asks nobody: `maporl train --on sagemaker` does, and shows placement, memory and price first.
"""

from __future__ import annotations

import sys

from maporl_cli.backends.sagemaker.launch import launch_job
from maporl_cli.core.config_sources import load_config


def main(role: str, bucket: str, dollars: str) -> str:
    """Start the job; its name."""
    config = load_config(
        preset="clinic",
        sets=[
            "train.max_steps=10",
            "sagemaker.instance=ml.g5.2xlarge",
            "sagemaker.max_runtime=3600",
            f"sagemaker.role={role}",
            f"sagemaker.bucket={bucket}",
        ],
    ).config
    job = launch_job(config, max_cost=float(dollars))
    print(f"started {job.name}, at most ${job.limit:.2f}; maporl logs {job.name} -f shows how it goes")
    return job.name


if __name__ == "__main__":
    main(*sys.argv[1:])
