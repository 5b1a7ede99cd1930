"""AWS's own containers, as the SDK knows their addresses."""

# The SDK leaves much of its signatures untyped.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from typing import Any

from sagemaker.core import image_uris

from maporl_cli.core.errors import ConfigError


def aws_image(framework: str, scope: str, region: str, instance: str, *, key: str, **versions: Any) -> str:
    """The address of AWS's image.

    Args:
        scope: `training` or `inference`.
        key: of the config, that names another one.
        versions: as the SDK calls them.

    Raises:
        ConfigError: there is none for the region or instance.
    """
    try:
        return image_uris.retrieve(framework, region, instance_type=instance, image_scope=scope, **versions)
    except ValueError as error:
        raise ConfigError(
            f"AWS has no {scope} image for that.",
            where=f"{instance} in {region}",
            why=str(error).splitlines()[0],
            fix=f"correct --instance or --region, or give {key}",
        ) from error
