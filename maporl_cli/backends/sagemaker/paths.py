"""Where SageMaker puts what a training container reads, and looks for what it wrote.

"How Amazon SageMaker AI Provides Training Information" and "Amazon SageMaker AI Environment Variables and the
Default Paths for Training Storage Locations", SageMaker Developer Guide.
"""

from __future__ import annotations

from pathlib import Path

ML = Path("/opt/ml")
CHANNELS = ML / "input" / "data"
INPUT_CONFIG = ML / "input" / "config"
DRIVERS = CHANNELS / "sm_drivers"
"""The channel of the SDK's own launcher."""
CHECKPOINTS = ML / "checkpoints"
"""Copied to S3 all the time, and back when a spot job goes on."""
MODEL = ML / "model"
"""Becomes model.tar.gz."""
OUTPUT = ML / "output" / "data"
"""Becomes output.tar.gz."""
DOWNLOADS = Path("/tmp/huggingface")
"""What is pulled from a hub: not below the model, which is packed and shipped."""
FAILURE = ML / "output" / "failure"
"""Its first 1,024 characters become the job's failure reason."""

CODE_CHANNEL = "code"
"""The SDK's name of the channel with this package."""
CONFIG_CHANNEL = "config"
CONFIG = "config.yaml"
"""In that channel: the job's config, with the container's paths."""
SHIPPED = "files"
"""In that channel: the folder of the plug-ins and the evidence that the config names."""
REQUIREMENTS = "requirements.txt"
"""In the channel `code`."""
LOCAL_CONFIG = "local.yaml"
"""In that channel: the config as it was where the job was launched."""
STUDY_CONFIG = "study.yaml"
"""In that channel, of a tuning job: the config of the study, as `maporl tune` took it."""


def channel(name: str) -> Path:
    """The folder that a channel is copied to."""
    return CHANNELS / name
