"""Searching for the settings that teach a team best: a study of trials, each an ordinary run."""
