"""Guards against collapse: each step is compared with the run's own past. One file a kind of guard."""

from maporl_cli.training.guards.past import Alarm, reach
from maporl_cli.training.guards.watch import Guards

__all__ = ["Alarm", "Guards", "reach"]
