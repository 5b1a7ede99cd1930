"""Credit: how an episode's reward is shared out to its turns. One file a rule."""

from maporl_cli.training.credit import influence, leave_one_out, maporl, potential, team
from maporl_cli.training.credit.rule import (
    Credit,
    CreditRule,
    Means,
    Measurement,
    credit_rules,
    keeps_start,
    register_credit,
)

__all__ = [
    "Credit",
    "CreditRule",
    "Means",
    "Measurement",
    "credit_rules",
    "keeps_start",
    "register_credit",
]

register_credit("team", team.team_credit)
register_credit("influence", influence.influence_credit)
register_credit("maporl", maporl.maporl_credit)
register_credit(
    "leave_one_out",
    leave_one_out.leave_one_out_credit,
    Measurement(leave_one_out.measure_losses, leave_one_out.refuse),
)
register_credit(
    "potential",
    potential.potential_credit,
    Measurement(potential.measure_readings, potential.refuse_unwritten, asks_start=True),
)
