"""Ours: among the packages that the SDK for SageMaker brings, one installs a package of this name."""
