"""maporl trains teams of language models that work together, and shows whether working together helped."""

__version__ = "0.1.0"
