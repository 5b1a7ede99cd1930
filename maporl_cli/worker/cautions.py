"""Settings that are allowed, and in vain; models that are allowed, and slow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from maporl_cli.agents.causal import CausalPolicy
from maporl_cli.agents.policy import Policy
from maporl_cli.core.config import Config
from maporl_cli.training.advantage import estimators
from maporl_cli.training.advantage.estimator import Estimator


def cautions(config: Config) -> Iterator[str]:
    """A sentence, without its full stop, for each of them."""
    train, reward = config.train, config.reward
    if train.credit == "influence" and config.team.max_rounds_per_episode == 1:
        yield (
            "train.credit=influence pays for changed answers, and in one round nobody can change his; set "
            "team.max_rounds_per_episode=2 or more"
        )
    if train.credit == "influence" and len(config.team.agents) == 1:
        yield "train.credit=influence pays for what agents make of one another, and there is one only"
    if reward.verifier != "none" and train.max_steps and train.max_steps <= reward.verifier_refresh:
        yield (
            f"the verifier speaks after its first refresh, at the end of step {reward.verifier_refresh}, and "
            f"the training ends with step {train.max_steps}: questions without a gold answer teach nothing; "
            "lower reward.verifier_refresh"
        )
    if train.kl_in == "reward" and not train.kl_coeff:
        yield "train.kl_in=reward says where the distance is paid, and train.kl_coeff=0 pays nothing for it"
    headless = isinstance(estimators().get(train.algorithm), Estimator)
    for key, rule, in_vain in (
        ("train.ppo", "train.algorithm=maporl_ppo", headless),
        ("train.value_loss_coeff", "train.algorithm=maporl_ppo", headless),
        ("train.influence", "train.credit=influence", train.credit != "influence"),
        ("train.gamma", "another train.credit", train.credit == "leave_one_out"),
        ("reward.verifier_refresh", "reward.verifier=learned", reward.verifier == "none"),
    ):
        if in_vain and _is_set(config, key):
            yield f"{key} is set, and means something with {rule} only"


def run_plainly(policies: Mapping[str, Policy]) -> Iterator[str]:
    """A sentence for each kind of model whose rows do not share what they begin with, and why."""
    agents: dict[str, list[str]] = {}
    for agent, policy in policies.items():
        if isinstance(policy, CausalPolicy) and policy.plainly:
            agents.setdefault(policy.plainly, []).append(agent)
    for why, names in agents.items():
        yield (
            f"transformers' own forward runs the model of {', '.join(names)}, since {why}: what several rows "
            "begin with is computed and stored for each of them"
        )


def _is_set(config: Config, key: str) -> bool:
    section, name = key.split(".")
    own, default = getattr(config, section), getattr(Config(), section)
    return getattr(own, name) != getattr(default, name)
