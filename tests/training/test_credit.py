"""Credit against tables worked by hand."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import question, scored, turn

from maporl_cli.core.config import Config, InfluenceConfig, TrainConfig
from maporl_cli.core.types import Episode
from maporl_cli.training.credit import credit_rules, keeps_start, register_credit, rule
from maporl_cli.training.credit.influence import incentives, influence_credit
from maporl_cli.training.credit.maporl import looking_ahead, maporl_credit
from maporl_cli.training.credit.rule import Credit, Measurement
from maporl_cli.training.credit.team import team_credit

FOUR = [turn(agent) for agent in ("planner", "researcher", "analyst", "reporter")]


@pytest.mark.parametrize(
    ("gamma", "expected"),
    [
        (1.0, [0.8, 0.8, 0.8, 0.8]),
        (0.5, [0.1, 0.2, 0.4, 0.8]),
        (0.3, [0.8 * 0.027, 0.8 * 0.09, 0.8 * 0.3, 0.8]),
    ],
)
def test_the_last_turn_gets_all_and_each_turn_before_it_gamma_times_as_much(gamma, expected):
    assert team_credit(scored(FOUR, 0.8), TrainConfig(gamma=gamma)) == pytest.approx(expected)


def test_turns_are_counted_over_rounds_not_per_round():
    turns = [turn(agent, round=round) for round in range(2) for agent in ("planner", "reporter")]
    assert team_credit(scored(turns, 1.0), TrainConfig(gamma=0.5)) == pytest.approx([0.125, 0.25, 0.5, 1.0])


def test_what_is_shared_is_the_total_with_the_format_term():
    assert team_credit(scored(FOUR, 1.2, task=1.0), TrainConfig()) == [1.2] * 4


def test_an_unscored_episode_is_a_bug_of_the_caller():
    with pytest.raises(ValueError, match="scored"):
        team_credit(Episode(question(), 0, 1, turns=FOUR), TrainConfig())


WEIGHTS = TrainConfig(influence=InfluenceConfig(alpha0=1.0, alpha1=10.0, beta0=100.0, beta1=1000.0))


def earned(*verdicts: str, agents: str = "ab") -> list[float]:
    """Incentives of turns that take turns: `+` right, `-` wrong, `.` no answer; each word is a round."""
    told = {"+": True, "-": False, ".": None}
    said = "".join(verdicts)
    return incentives(
        [agents[n % len(agents)] for n in range(len(said))], [told[sign] for sign in said], WEIGHTS
    )


class TestInfluence:
    @pytest.mark.parametrize(
        ("rounds", "value"),
        [
            # b's change of mind, in the second round, after a said what the third sign says.
            (("+-", "++"), 10.0),  # wrong, hears right, accepts it
            (("--", "-+"), 1.0),  # wrong, hears wrong, finds the right one all the same
            (("++", "+-"), -1.0),  # right, hears right, leaves it
            (("++", "--"), -10.0),  # right, hears wrong, follows
            (("++", "++"), 0.0),
            (("--", "--"), 0.0),
            (("--", "+-"), 0.0),  # nothing changed
            (("-+", "-+"), 0.0),
            (("+.", "+-"), 0.0),  # no answer before
            (("++", ".-"), -1.0),  # the last that was heard still counts
        ],
    )
    def test_one_s_own_change(self, rounds, value):
        assert earned(*rounds)[3] == value

    @pytest.mark.parametrize(
        ("signs", "value"),
        [
            # What a says before and after b's turn: b is judged by how a changes.
            ("-++", 1000.0),  # b right, a moves to it
            ("--+", 100.0),  # b wrong, and a becomes right: usefully wrong
            ("++-", -100.0),  # b right, in vain
            ("+--", -1000.0),  # b wrong, and a is misled
            ("+++", 0.0),
            ("---", 0.0),
            ("+-+", 0.0),
            ("-+-", 0.0),
            (".-+", 0.0),  # a had no answer to change
            ("+.-", 0.0),  # b stood for nothing
        ],
    )
    def test_the_others_change(self, signs, value):
        assert earned(signs[:2], signs[2:])[1] == value

    def test_both_at_once(self):
        """Three rounds: b accepts what a says (+10) and a then leaves it (b right in vain, −100)."""
        assert earned("+-", "++", "-+")[3] == -90.0

    def test_most_of_three_decide(self):
        # c's change to right in its second turn; a and b before it
        assert earned("++-", "+-+", agents="abc")[5] == 0.0  # one right, one wrong
        assert earned("++-", "+++", agents="abc")[5] == 10.0
        assert earned("---", "--+", agents="abc")[5] == 1.0

    def test_two_of_five_are_not_most(self):
        """f, wrong and then right, heard two of five be right: it found out what most of them did not say."""
        assert earned("++----", "++---+", agents="abcdef")[11] == 1.0
        assert earned("+++---", "+++--+", agents="abcdef")[11] == 10.0

    def test_only_those_who_answered_before_and_after_have_changed(self):
        """In one round nobody has, however their answers differ."""
        assert earned("-++-", agents="abcd") == [0.0] * 4
        # b's first turn: a stays wrong, and c was not heard before. c's: a and b become right, as c was.
        assert earned("-++", "-++", agents="abc")[1] == 0.0
        assert earned("--+", "+++", agents="abc")[2] == 1000.0

    def test_two_who_answered_once_each_have_not_changed(self):
        """Around b's first turn: before it only c answered, rightly; after it only a, wrongly."""
        assert earned("+.+", ".-.", agents="cab")[2] == 0.0
        assert earned("+-+", ".-.", agents="cab")[2] == 0.0
        assert earned("+++", ".-.", agents="cab")[2] == -100.0

    def test_no_answer_is_no_wrong_one(self):
        """b names no option at first, and then the one that a named."""
        answers = ["Answer: A", "look at the chart", "Answer: A", "Answer: A"]
        turns = [
            turn(agent, round=n // 2, text=text)
            for n, (agent, text) in enumerate(zip("abab", answers, strict=True))
        ]
        assert influence_credit(scored(turns, 0.5), WEIGHTS) == [0.5] * 4

    def test_it_comes_on_top_of_the_team_s_credit(self):
        answers = ["Answer: B", "Answer: A", "Answer: A"]
        turns = [
            turn(agent, round=n // 2, text=text)
            for n, (agent, text) in enumerate(zip("aba", answers, strict=True))
        ]
        episode = scored(turns, 0.5)
        # a: wrong; b: right, and a follows (+1000); a: wrong, then accepts (+10)
        assert influence_credit(episode, WEIGHTS) == pytest.approx([0.5, 1000.5, 10.5])

    def test_without_a_gold_answer_there_is_only_the_team_s_credit(self):
        turns = [turn(agent, round=r, text=f"Answer: {'AB'[r]}") for r in (0, 1) for agent in "ab"]
        unknown = scored(turns, 0.5)
        unknown.question = replace(unknown.question, answer="")
        assert influence_credit(unknown, TrainConfig()) == [0.5] * 4
        assert maporl_credit(unknown, TrainConfig(gamma=0.3)) == [0.5] * 4

    def test_one_agent_has_nobody_to_influence(self):
        assert earned("+", "-", "+", agents="a") == [0.0, 0.0, 0.0]


class TestMaporl:
    def test_three_agents_in_two_rounds(self):
        """γ = .3. Scores 1, 0, 1, then 0, 1, .8, of mean .6: (1 + .18)/1.3, .18/1.3, …; and 0, 1, .8."""
        answers = ["Answer: A", "Answer: B", "Answer: A", "Answer: B", "Answer: A", "Answer: A"]
        turns = [
            turn(agent, round=place // 3, text=text)
            for place, (agent, text) in enumerate(zip("abcabc", answers, strict=True))
        ]
        expected = [1.18 / 1.3, 0.18 / 1.3, 1.18 / 1.3, 0.0, 1.0, 0.8]
        assert maporl_credit(scored(turns, 0.8), TrainConfig(gamma=0.3)) == pytest.approx(expected)

    def test_who_stands_for_no_answer_scores_the_team_s(self):
        """One round: a plan, a wrong answer, and the last one, wrong too, in a team that earned .4."""
        turns = [
            turn("a", text="look at the chart"),
            turn("b", text="Answer: B"),
            turn("c", text="Answer: B"),
        ]
        assert maporl_credit(scored(turns, 0.4), TrainConfig(gamma=0.3)) == [0.4, 0.0, 0.4]

    def test_three_rounds_and_an_agent_that_speaks_in_one_only(self):
        # Means of the rounds: ½, 1, 0. Of round 0: (own + ½·1 + ¼·0) / 1.75; of round 1: (1 + 0) / 1.5
        found = looking_ahead([0, 0, 1, 2, 2], [1.0, 0.0, 1.0, 0.0, 0.0], 0.5)
        assert found == pytest.approx([1.5 / 1.75, 0.5 / 1.75, 1 / 1.5, 0.0, 0.0])

    @given(st.lists(st.integers(0, 4), min_size=1).map(sorted), st.floats(0.01, 1), st.floats(-2, 2))
    def test_a_return_is_a_mean_of_scores(self, rounds, gamma, value):
        assert looking_ahead(rounds, [value] * len(rounds), gamma) == pytest.approx([value] * len(rounds))

    def test_an_unscored_episode_is_a_bug_of_the_caller(self):
        with pytest.raises(ValueError, match="scored"):
            maporl_credit(Episode(question(), 0, 1, turns=FOUR), TrainConfig())


def test_a_rule_of_one_s_own(monkeypatch):
    monkeypatch.setattr(rule, "_RULES", {})
    measurement = Measurement(lambda groups, taught, means: 0, lambda config, book: None, asks_start=True)
    register_credit("mine", team_credit, measurement)
    assert credit_rules() == {"mine": Credit(team_credit, measurement)}
    assert keeps_start(Config.model_validate({"train": {"credit": "mine"}})) == ("reporter",)


def test_registered():
    # An example may have been loaded before.
    assert list(credit_rules())[:5] == ["team", "influence", "maporl", "leave_one_out", "potential"]
    assert credit_rules()["team"].rule is team_credit
    assert credit_rules()["team"](scored(FOUR, 0.8), TrainConfig()) == [0.8] * 4
    measured = [name for name, credit in credit_rules().items() if credit.measurement is not None]
    assert measured == ["leave_one_out", "potential"]
