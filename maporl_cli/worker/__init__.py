"""The one program that a rank runs: it builds a team from a config and trains, evaluates or asks it."""

from maporl_cli.worker.ask import ask_team
from maporl_cli.worker.evaluate import evaluate_run
from maporl_cli.worker.request import Request
from maporl_cli.worker.train import train

__all__ = ["Request", "ask_team", "evaluate_run", "train"]
