"""Credit: how an episode's reward is shared out to its turns. One file a rule."""

from maporl_cli.training.credit import influence, maporl, team
from maporl_cli.training.credit.rule import CreditRule, credit_rules, register_credit

__all__ = ["CreditRule", "credit_rules", "register_credit"]

register_credit("team", team.team_credit)
register_credit("influence", influence.influence_credit)
register_credit("maporl", maporl.maporl_credit)
