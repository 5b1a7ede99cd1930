"""From scored episodes to experiences, worked by hand."""

import math

import pytest
from support import Pupil, scored, turn

from maporl_cli.core.config import TrainConfig
from maporl_cli.core.types import Group
from maporl_cli.training.advantage import estimators
from maporl_cli.training.credit.team import team_credit
from maporl_cli.training.experience import gather, is_dead

AGENTS = ("planner", "analyst", "reporter")


def collect(groups, agents=AGENTS, gamma=1.0, estimator="rloo", place=None):
    """As on one replica, where a sum over the replicas is the value itself."""
    return gather(
        [Group(group, place) for group in groups],
        [Pupil(agent) for agent in agents],
        team_credit,
        estimators()[estimator],
        TrainConfig(gamma=gamma),
    )


def advantages(gathered, agent):
    """One a turn; all tokens of a turn have the same."""
    found = []
    for experience in gathered.by_agent[agent]:
        (value,) = set(experience.advantages)
        assert len(experience.advantages) == len(experience.turn.token_ids)
        found.append(value)
    return found


def rounds(*agents_by_round, total, task=None, finished=True):
    turns = [
        turn(agent, round=round, text=f"{agent} {round}", finished=finished)
        for round, agents in enumerate(agents_by_round)
        for agent in agents
    ]
    return scored(turns, total, task=task)


def test_one_round_of_one_group():
    group = [rounds(AGENTS, total=value) for value in (1.0, 0.0, 0.0, 1.0)]
    gathered = collect([group])
    for agent in AGENTS:
        assert advantages(gathered, agent) == pytest.approx([2 / 3, -2 / 3, -2 / 3, 2 / 3])
        turns = [experience.turn for experience in gathered.by_agent[agent]]
        assert turns == [next(t for t in episode.turns if t.agent == agent) for episode in group]
    assert (gathered.dead_groups, gathered.cut_turns) == (0, 0)


def test_two_rounds_of_three_agents_with_a_discount():
    """γ = ½. Returns by turn; the reporter of the first episode speaks at places 3 and 6 of 6.

    first, two rounds, reward 1:  p 1/32, a 1/16, r 1/8, p 1/4, a 1/2, r 1
    second, one round, reward 0:  0, 0, 0
    third, one round, reward .8:  p .2, a .4, r .8

    Means of p: (1/32 + 1/4)/2 = 9/64, 0, .2.  Baselines: .1, (9/64 + .2)/2, 9/128.
    """
    group = [
        rounds(AGENTS, AGENTS, total=1.0),
        rounds(AGENTS, total=0.0),
        rounds(AGENTS, total=0.8),
    ]
    gathered = collect([group], gamma=0.5)
    assert advantages(gathered, "planner") == pytest.approx(
        [1 / 32 - 0.1, 1 / 4 - 0.1, -(9 / 64 + 0.2) / 2, 0.2 - 9 / 128]
    )
    # means 9/32, 0, .4; baselines .2, (9/32 + .4)/2, 9/64
    assert advantages(gathered, "analyst") == pytest.approx(
        [1 / 16 - 0.2, 1 / 2 - 0.2, -(9 / 32 + 0.4) / 2, 0.4 - 9 / 64]
    )
    # means 9/16, 0, .8; baselines .4, (9/16 + .8)/2, 9/32
    assert advantages(gathered, "reporter") == pytest.approx(
        [1 / 8 - 0.4, 1 - 0.4, -(9 / 16 + 0.8) / 2, 0.8 - 9 / 32]
    )
    assert [experience.turn.round for experience in gathered.by_agent["reporter"]] == [0, 1, 0, 0]


def test_the_distance_from_the_start_is_paid_off_each_turn_s_own_return():
    """Returns 1 and 0; the first planner's turn has 4 tokens, all others 2: at .1 a nat .6 − (−.2)."""
    far = scored([turn("planner", tokens=4), turn("reporter")], 1.0)
    near = scored([turn("planner"), turn("reporter")], 0.0)
    train = TrainConfig(kl_coeff=0.1, kl_in="reward")
    pupils = [Pupil("planner"), Pupil("reporter")]
    gathered = gather([Group([far, near])], pupils, team_credit, estimators()["rloo"], train)
    assert advantages(gathered, "planner") == pytest.approx([0.8, -0.8])
    assert advantages(gathered, "reporter") == pytest.approx([1.0, -1.0])
    in_loss = train.model_copy(update={"kl_in": "loss"})
    gathered = gather([Group([far, near])], pupils[:1], team_credit, estimators()["rloo"], in_loss)
    assert advantages(gathered, "planner") == pytest.approx([1.0, -1.0])
    assert gathered.kl == {}, "the loss tells of it"


class Drifting(Pupil):
    """Further from its start with each token of a turn."""

    def divergence(self, turns):
        return [[float(place) for place in range(len(turn.token_ids))] for turn in turns]


@pytest.mark.parametrize("estimator", ["rloo", "maporl_ppo"])
def test_the_distance_that_is_paid_is_told_by_token(estimator):
    """0, 1, 2, 3 and 0, 1 nats: 7 over 6 tokens."""
    group = Group([scored([turn("planner", tokens=4)], 1.0), scored([turn("planner")], 0.0)])
    train = TrainConfig(kl_coeff=0.1, kl_in="reward")
    pupils = [Drifting("planner"), Drifting("reporter")]
    gathered = gather([group], pupils, team_credit, estimators()[estimator], train)
    assert gathered.kl == {"planner": pytest.approx(7 / 6)}, "who took no turn has no distance"


ROOT = math.sqrt(38)
SPREAD = math.sqrt(1 / 3) + 1e-4


@pytest.mark.parametrize(
    ("estimator", "live", "dead"),
    [
        # Means 1, 0, 0; of the others 0, ½, ½.
        ("rloo", [1.0, 1.0, -0.5, -0.5], []),
        ("dr_grpo", [2 / 3, 2 / 3, -1 / 3, -1 / 3], []),
        # Squares 4/9 + 1/9 + 1/9 over n − 1: ⅓.
        ("grpo", [2 / 3 / SPREAD, 2 / 3 / SPREAD, -1 / 3 / SPREAD, -1 / 3 / SPREAD], []),
        # 1, 1, 0, 0, .4, .4: of mean 7/15, squares 2·(64 + 49 + 1)/225, over 6: 38/225.
        ("reinforce_pp", [8 / ROOT, 8 / ROOT, -7 / ROOT, -7 / ROOT], [-1 / ROOT, -1 / ROOT]),
        # 2/3, 2/3, −1/3, −1/3: of mean 1/6, from which each is ½.
        ("reinforce_pp_baseline", [1.0, 1.0, -1.0, -1.0], []),
    ],
)
def test_two_rounds_a_tie_a_cut_turn_and_a_dead_group(estimator, live, dead):
    """Rewards 1 in two rounds, 0 and 0 in one, of which the planner's first was cut; and twice .4."""
    groups = [
        [
            rounds(AGENTS, AGENTS, total=1.0),
            scored([turn("planner", finished=False), turn("analyst"), turn("reporter")], 0.0),
            rounds(AGENTS, total=0.0),
        ],
        [rounds(AGENTS, total=0.4) for _ in range(2)],
    ]
    gathered = collect(groups, estimator=estimator)
    assert (gathered.dead_groups, gathered.cut_turns) == (1, 1)
    for agent in ("analyst", "reporter"):
        assert advantages(gathered, agent) == pytest.approx(live + dead, abs=1e-7)
    assert advantages(gathered, "planner") == pytest.approx([*live[:2], live[3], *dead], abs=1e-7)


def test_a_value_head_s_table_of_the_same():
    """λ = ½, expected 2 and 1: δ = −1 and R − 1, so A = −1 + (R − 1)/2 and R − 1; the cut turn's as well."""
    groups = [
        Group(
            [
                rounds(AGENTS, AGENTS, total=1.0),
                scored([turn("planner", finished=False), turn("analyst"), turn("reporter")], 0.0),
                rounds(AGENTS, total=0.0),
            ]
        ),
        Group([rounds(AGENTS, total=0.4) for _ in range(2)]),
    ]
    train = TrainConfig.model_validate({"ppo": {"gae_lambda": 0.5}})
    pupils = [Pupil(agent) for agent in AGENTS]
    gathered = gather(groups, pupils, team_credit, estimators()["maporl_ppo"], train)
    assert (gathered.dead_groups, gathered.cut_turns) == (1, 1)
    right, wrong, dead = ([-1.0, 0.0], [1.0, 1.0]), ([-1.5, -1.0], [0.5, 0.0]), ([-1.3, -0.6], [0.7, 0.4])
    for agent in AGENTS:
        own = gathered.by_agent[agent]
        for one, (gained, target) in zip(own, [right, right, wrong, wrong, dead, dead], strict=True):
            assert one.advantages == pytest.approx(gained)
            assert one.targets == pytest.approx(target)
        assert [one.turn.finished for one in own] == [True, True, agent != "planner", True, True, True]


def test_groups_are_compared_within_themselves():
    easy = [rounds(AGENTS, total=value) for value in (1.0, 0.5)]
    hard = [rounds(AGENTS, total=value) for value in (0.0, 0.5)]
    assert advantages(collect([easy, hard]), "planner") == pytest.approx([0.5, -0.5, -0.5, 0.5])


def test_a_dead_group_leaves_altogether_and_is_counted():
    dead = [rounds(AGENTS, total=1.0) for _ in range(3)]
    live = [rounds(AGENTS, total=value) for value in (1.0, 0.0, 0.0)]
    gathered = collect([dead, live, dead])
    assert gathered.dead_groups == 2
    assert len(gathered.by_agent["planner"]) == 3
    assert collect([dead]).by_agent == {agent: [] for agent in AGENTS}


def test_an_estimator_that_compares_across_groups_learns_from_dead_ones():
    """Mean ½, spread ½: a group that is always right is better than the batch."""
    right = [rounds(AGENTS, total=1.0) for _ in range(2)]
    wrong = [rounds(AGENTS, total=0.0) for _ in range(2)]
    gathered = collect([right, wrong], estimator="reinforce_pp")
    assert gathered.dead_groups == 2
    assert advantages(gathered, "planner") == pytest.approx([1.0, 1.0, -1.0, -1.0])
    assert advantages(collect([right, wrong], estimator="reinforce_pp_baseline"), "planner") == []


@pytest.mark.parametrize("estimator", ["rloo", "reinforce_pp"])
def test_a_group_without_scores_is_dead_whatever_the_estimator(estimator):
    """Nobody knows what its episodes are worth, so it takes no part in a mean or a spread either."""
    unjudged = [rounds(AGENTS, total=1.0) for _ in range(2)]
    for episode in unjudged:
        episode.score = None
    live = [rounds(AGENTS, total=value) for value in (1.0, 0.0)]
    gathered = collect([unjudged, live], estimator=estimator)
    assert gathered.dead_groups == 1
    assert advantages(gathered, "planner") == advantages(collect([live], estimator=estimator), "planner")


def test_what_was_earned_decides_whether_a_group_is_dead():
    """Whether form alone is paid for is the reward's business: `reward.format_paid`."""
    same = [rounds(AGENTS, total=1.0, task=task) for task in (0.5, 0.6)]
    assert is_dead(same)
    assert collect([same]).by_agent["planner"] == []
    assert not is_dead([rounds(AGENTS, total=total, task=1.0) for total in (1.0, 1.2)])


def test_a_cut_turn_is_not_trained_on_but_counts_in_the_baselines():
    group = [rounds(AGENTS, total=1.0, finished=False), *(rounds(AGENTS, total=v) for v in (0.0, 0.5))]
    gathered = collect([group])
    # the others' baselines hold the cut episode's 1
    assert advantages(gathered, "planner") == pytest.approx([0 - 0.75, 0.5 - 0.5])
    assert gathered.cut_turns == 3
    tokens = sum(len(experience.turn.token_ids) for experience in gathered.by_agent["planner"])
    assert tokens == 4


def test_cut_turns_of_dead_groups_are_not_counted_twice():
    assert collect([[rounds(AGENTS, total=1.0, finished=False)] * 2]).cut_turns == 0


def test_one_cut_turn_leaves_the_other_turns_of_its_episode():
    cut = scored([turn("planner", finished=False), turn("analyst"), turn("reporter")], 1.0)
    gathered = collect([[cut, rounds(AGENTS, total=0.0)]])
    assert [len(gathered.by_agent[agent]) for agent in AGENTS] == [1, 2, 2]
    assert advantages(gathered, "planner") == [-1.0]


def test_an_agent_that_is_not_asked_for_learns_nothing():
    group = [rounds(AGENTS, total=value) for value in (1.0, 0.0)]
    assert set(collect([group], agents=("analyst",)).by_agent) == {"analyst"}


def test_an_agent_that_spoke_in_some_episodes_is_compared_among_those():
    group = [
        rounds(("planner", "reporter"), total=1.0),
        rounds(("reporter",), total=0.2),
        rounds(("planner", "reporter"), total=0.0),
    ]
    gathered = collect([group], agents=("planner", "reporter"))
    assert advantages(gathered, "planner") == pytest.approx([1.0, -1.0])
    assert advantages(gathered, "reporter") == pytest.approx([0.9, 0.2 - 0.5, -0.6])


@pytest.mark.parametrize(
    "estimator", ["rloo", "grpo", "dr_grpo", "reinforce_pp", "reinforce_pp_baseline", "maporl_ppo"]
)
def test_at_a_place_only_the_turns_there_are_compared_and_learned_from(estimator):
    """The second analyst's turn, at place 4: 1, 0, ½. What the siblings said later had other contexts."""
    group = [rounds(AGENTS, AGENTS, total=value) for value in (1.0, 0.0, 0.5)]
    gathered = collect([group], place=4, estimator=estimator)
    assert gathered.by_agent["planner"] == gathered.by_agent["reporter"] == []
    assert [experience.turn for experience in gathered.by_agent["analyst"]] == [e.turns[4] for e in group]
    if estimator == "rloo":
        assert advantages(gathered, "analyst") == pytest.approx([0.75, -0.75, 0.0])


def test_each_place_is_dead_or_alive_by_itself():
    live = [rounds(AGENTS, total=value) for value in (1.0, 0.0)]
    dead = [rounds(AGENTS, total=1.0) for _ in range(2)]
    gathered = gather(
        [Group(dead, 0), Group(live, 1), Group(dead, 2)],
        [Pupil(agent) for agent in AGENTS],
        team_credit,
        estimators()["rloo"],
        TrainConfig(),
    )
    assert gathered.dead_groups == 2
    assert [len(gathered.by_agent[agent]) for agent in AGENTS] == [0, 2, 0]


def test_cut_turns_elsewhere_do_not_count():
    group = [rounds(AGENTS, total=value, finished=False) for value in (1.0, 0.0)]
    assert collect([group], place=1).cut_turns == 2
