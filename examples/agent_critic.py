"""Adds a fifth agent: a critic, who says what could be wrong before the reporter decides.

Run it with any model that follows instructions:

    maporl train --preset smollm2 --set data.train=FILE --set 'run.plugins=[examples/agent_critic.py]' \
        --set 'team.agents=[{name: planner, max_new_tokens: 24}, {name: researcher, max_new_tokens: 24},
                            {name: analyst, max_new_tokens: 24}, {name: critic, max_new_tokens: 24},
                            {name: reporter, max_new_tokens: 24}]'

An agent is a seat in `team.agents` and the role of the same name in the role book. The seat's place
in the list is when it speaks: here after the analyst, whose choice there is then to doubt, and before
the reporter, who hears everybody and has the last word. The critic has a policy of its own, which
learns from the team's reward as all the others do.
"""

from __future__ import annotations

from maporl_cli.agents.roles import Role, register_role

CRITIC = Role(
    name="critic",
    # The options but not the patient's chart: it has to doubt what the analyst says, not redo it.
    sees=("question", "options"),
    # An option named as "(B)" is a vote. One that differs from the report's is dissent, so where
    # team.max_rounds_per_episode allows it the team talks for another round.
    instruction=(
        "You are the critic. In one short sentence, say what could be wrong with the analyst's choice. "
        "If another option is better, name it by its letter in parentheses."
    ),
)

for book in ("guide", "brief"):  # the roles in words, and in few words, which the preset smollm2 takes
    register_role(CRITIC, book=book)
