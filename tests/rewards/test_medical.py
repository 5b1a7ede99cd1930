"""The weighted reward: weights, what does not apply, multipliers, and when the format is paid."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import question, turn

from maporl_cli.agents.roles import Role, RoleBook
from maporl_cli.core.config import RewardConfig
from maporl_cli.core.errors import ConfigError
from maporl_cli.core.types import Episode
from maporl_cli.rewards import component, medical
from maporl_cli.rewards.component import Measure, register_component
from maporl_cli.rewards.dangers import Contraindication
from maporl_cli.rewards.medical import Reward

BOOK = RoleBook(
    name="toy",
    roles={
        "planner": Role("planner", (), "", re.compile("fine")),
        "reporter": Role("reporter", (), "", re.compile("fine")),
    },
    sections={},
)
ONLY_ACCURACY = {
    "accuracy": 1.0,
    "medical_relevance": 0.0,
    "safety": 0.0,
    "collaboration": 0.0,
    "evidence_quality": 0.0,
    "clinical_reasoning": 0.0,
}


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    """Only what a test registers is there, and gone after it."""
    monkeypatch.setattr(component, "_COMPONENTS", {})


def reward(**settings):
    return Reward(RewardConfig.model_validate({"similarity_model": None, **settings}), BOOK)


def episode(answer: str | None = "A", forms: str = "ff"):
    """An episode of planner and reporter; `f` marks a turn in form, `x` one that is not."""
    turns = [
        turn(agent, text="fine" if form == "f" else "odd")
        for agent, form in zip(("planner", "reporter"), forms, strict=True)
    ]
    return Episode(question(answer="A"), 0, 1, turns=turns, answer=answer)


def scores(group, **settings):
    reward(**settings).score([group])
    return [played.score for played in group]


def test_the_weighted_mean_by_hand():
    register_component("safety", lambda _: Measure(0.5))
    register_component("collaboration", lambda _: Measure(0.0, "nobody listened"))
    weights = {"accuracy": 0.4, "safety": 0.2, "collaboration": 0.2, "medical_relevance": 0.9}
    (right,) = scores([episode("A")], weights=weights)
    # (0.4·1 + 0.2·0.5 + 0.2·0) / 0.8; medical_relevance has no component and stands in no sum
    assert right.task == pytest.approx(0.5 / 0.8)
    assert right.components == {"accuracy": 1.0, "safety": 0.5, "collaboration": 0.0}
    assert right.reasons == {"collaboration": "nobody listened"}
    (wrong,) = scores([episode("B")], weights=weights)
    assert wrong.task == pytest.approx(0.1 / 0.8)
    assert set(wrong.reasons) == {"accuracy", "collaboration"}


def test_a_component_that_does_not_apply_leaves_both_sums():
    register_component("safety", lambda played: None if played.answer == "A" else Measure(0.5))
    weights = {"accuracy": 0.25, "safety": 0.75}
    right, wrong = scores([episode("A"), episode("B")], weights=weights, format_weight=0)
    assert (right.task, dict(right.components)) == (1.0, {"accuracy": 1.0})
    assert wrong.task == pytest.approx(0.75 * 0.5)


def test_multipliers():
    register_component("safety", lambda _: Measure(0.0))
    register_component("collaboration", lambda _: Measure(0.0))
    weights = {"accuracy": 0.35, "safety": 0.15, "collaboration": 0.15}
    (plain,) = scores([episode("A")], weights=weights)
    assert plain.task == pytest.approx(0.35 / 0.65)
    (guide,) = scores(
        [episode("A")], weights=weights, medxpert_accuracy_weight=2.0, safety_penalty_weight=3.0
    )
    assert guide.task == pytest.approx(0.70 / (0.70 + 0.45 + 0.15))


def test_the_guides_weights_are_the_default():
    assert RewardConfig().weights.model_dump() == {
        "accuracy": 0.35,
        "medical_relevance": 0.25,
        "safety": 0.15,
        "collaboration": 0.15,
        "evidence_quality": 0.05,
        "clinical_reasoning": 0.05,
    }
    assert (RewardConfig().medxpert_accuracy_weight, RewardConfig().safety_penalty_weight) == (1, 1)


def test_a_component_without_weight_is_never_called():
    def broken(_):
        raise AssertionError("called")

    register_component("safety", broken)
    register_component("mine", broken)
    scores([episode()], weights=ONLY_ACCURACY)
    scores([episode()], weights={**ONLY_ACCURACY, "safety": 1.0}, safety_penalty_weight=0)


def test_a_plugins_component_gets_its_extra_weight():
    register_component("brevity", lambda _: Measure(0.5))
    (right,) = scores([episode("A")], weights=ONLY_ACCURACY, extra_weights={"brevity": 3.0})
    assert right.task == pytest.approx((1 + 1.5) / 4)
    assert right.components == {"accuracy": 1.0, "brevity": 0.5}


def test_a_plug_in_cannot_take_the_place_of_accuracy():
    with pytest.raises(ConfigError) as caught:
        register_component("accuracy", lambda _: Measure(1.0))
    assert "cannot be called 'accuracy'" in str(caught.value)
    assert "Why: " in str(caught.value)
    assert "my_accuracy" in caught.value.fix
    assert scores([episode("B")], weights={"accuracy": 1.0})[0].total == 0.0


def test_a_failing_component_fails_loudly():
    def broken(_):
        raise ZeroDivisionError

    register_component("safety", broken)
    with pytest.raises(ZeroDivisionError):
        scores([episode()])


def test_format_may_be_paid_always():
    settings = {"weights": ONLY_ACCURACY, "format_weight": 0.25, "format_paid": "always"}
    wrong = scores([episode("B", "xf"), episode("B", "ff"), episode(None, "fx")], **settings)
    # (0 + .25·form) / 1.25
    assert [score.total for score in wrong] == pytest.approx([0.1, 0.2, 0.1])


def test_format_is_paid_only_where_the_groups_task_rewards_differ():
    settings = {"weights": ONLY_ACCURACY, "format_weight": 0.25}
    live = scores([episode("A", "xf"), episode("B", "ff"), episode(None, "fx")], **settings)
    # (1 + .25·½) / 1.25 for the right one
    assert [score.total for score in live] == pytest.approx([0.9, 0.2, 0.1])
    assert [score.form for score in live] == [0.5, 1.0, 0.5]
    dead = scores([episode("B", "ff"), episode("B", "xx")], **settings)
    assert [score.total for score in dead] == [0.0, 0.0]
    assert [score.form for score in dead] == [1.0, 0.0], "still measured"
    all_right = scores([episode("A", "ff"), episode("A", "xx")], **settings)
    assert [score.total for score in all_right] == [1.0, 1.0]


def test_form_never_weighs_more_than_half_of_accuracy():
    register_component("safety", lambda _: Measure(0.5))
    settings = {
        "weights": {"accuracy": 0.25, "safety": 0.75, "evidence_quality": 0.0},
        "format_weight": 10,
    }
    right, wrong = scores([episode("A"), episode("B")], **settings)
    # accuracy's share is a quarter, so form weighs an eighth
    assert right.total == pytest.approx((0.5 + 0.5 * (0.25 + 0.375) + 0.125) / 1.125)
    assert wrong.total == pytest.approx((0.5 * 0.375 + 0.125) / 1.125)


def test_each_group_is_judged_by_itself():
    groups = [[episode("A"), episode("B")], [episode("B"), episode("B")]]
    reward(weights=ONLY_ACCURACY, format_weight=0.25).score(groups)
    assert [played.score.total for group in groups for played in group] == pytest.approx([1.0, 0.2, 0.0, 0.0])


ANSWERS = st.sampled_from(["A", "B", None])
FORMS = st.sampled_from(["ff", "fx", "xf", "xx"])
OTHERS = [name for name in ONLY_ACCURACY if name != "accuracy"]
VALUES = st.lists(st.floats(0, 1), min_size=5, max_size=5)
HARM = Contraindication("physostigmine", (("physostigmine",),), (), "asystole", "a label")


@given(
    st.lists(st.tuples(ANSWERS, FORMS, VALUES, st.booleans()), min_size=2, max_size=8),
    st.lists(st.floats(0, 5), min_size=6, max_size=6).filter(lambda weights: sum(weights) > 0.01),
    st.floats(0, 10),
    st.sampled_from(["task_differs", "always"]),
)
def test_a_wrong_or_vetoed_answer_never_out_earns_a_right_one(played, weights, format_weight, paid):
    """Whatever the components say, whatever they and the form weigh."""
    group = [episode(answer, forms) for answer, forms, _, _ in played]
    found = {id(one): (values, harms) for one, (_, _, values, harms) in zip(group, played, strict=True)}
    for place, name in enumerate(OTHERS):
        register_component(name, lambda one, place=place: Measure(found[id(one)][0][place]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(medical, "veto", lambda one: HARM if found[id(one)][1] else None)
        told = scores(
            group,
            weights=dict(zip(ONLY_ACCURACY, weights, strict=True)),
            format_weight=format_weight,
            format_paid=paid,
        )
    guarded = weights[list(ONLY_ACCURACY).index("safety")] > 0
    good, bad = [], []
    for (answer, _, _, harms), score in zip(played, told, strict=True):
        assert 0.0 <= score.total <= 1.0 + 1e-9
        (good if answer == "A" and not (harms and guarded) else bad).append(score.total)
        if harms and guarded:
            assert score.total == 0.0
            assert "asystole" in score.reasons["veto"]
    assert min(good, default=2.0) >= max(bad, default=-1.0) - 1e-9


@given(
    st.lists(st.floats(0, 1), min_size=3, max_size=3),
    st.lists(st.floats(0.001, 5), min_size=3, max_size=3),
)
def test_the_task_reward_stays_within_its_components(values, weights):
    names = ("safety", "collaboration", "evidence_quality")
    for name, value in zip(names, values, strict=True):
        register_component(name, lambda _, value=value: Measure(value))
    given_weights = {**ONLY_ACCURACY, "accuracy": 0.0, **dict(zip(names, weights, strict=True))}
    (score,) = scores([episode()], weights=given_weights)
    assert min(values) - 1e-9 <= score.task <= max(values) + 1e-9


def judged(verified: float | None, answer: str | None = "A", forms: str = "ff"):
    """An episode whose gold answer nobody knows."""
    played = episode(answer, forms)
    played.question = replace(played.question, answer="")
    played.verified = verified
    return played


def test_without_a_gold_answer_the_verifiers_probability_stands_for_right():
    register_component("safety", lambda _: Measure(0.5))
    weights = {**ONLY_ACCURACY, "safety": 1.0}
    likely, unlikely, unreadable = scores(
        [judged(0.8), judged(0.1), judged(0.9, None)], weights=weights, format_weight=0
    )
    # ½·.8 + ½·(.8 + .5)/2
    assert likely.total == pytest.approx(0.4 + 0.325)
    assert unlikely.total == pytest.approx(0.05 + 0.15)
    assert unreadable.total == pytest.approx(0.125), "no verifier makes an answer of what nobody can read"
    assert (likely.components["accuracy"], unreadable.components["accuracy"]) == (0.8, 0.0)


def test_an_answer_that_nobody_has_judged_has_no_score_nor_has_its_group():
    group = scores([judged(None), judged(None)])
    assert group == [None, None]
    groups = [[judged(None), judged(0.5)], [episode("A"), episode("B")]]
    reward().score(groups)
    assert [played.score is None for group in groups for played in group] == [True, True, False, False]


@given(st.lists(st.tuples(st.floats(0, 1), VALUES, st.booleans()), min_size=2, max_size=6))
def test_a_vetoed_answer_earns_nothing_however_sure_the_verifier_is(played):
    group = [judged(verified) for verified, _, _ in played]
    found = {id(one): (values, harms) for one, (_, values, harms) in zip(group, played, strict=True)}
    for place, name in enumerate(OTHERS):
        register_component(name, lambda one, place=place: Measure(found[id(one)][0][place]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(medical, "veto", lambda one: HARM if found[id(one)][1] else None)
        told = scores(group, format_paid="always")
    for (verified, _, harms), score in zip(played, told, strict=True):
        assert score.total == 0.0 if harms else 0.0 <= score.total <= 1.0 + 1e-9
        if harms:
            assert "asystole" in score.reasons["veto"]
        else:
            assert score.total >= verified / 2 / 1.2 - 1e-9, "half of the reward is the probability"


def test_an_extra_weight_that_names_no_component():
    with pytest.raises(ConfigError, match="'brevty'") as told:
        reward(extra_weights={"brevty": 1.0})
    assert told.value.where == "reward.extra_weights.brevty"
    assert "accuracy" in told.value.why


@pytest.mark.parametrize(
    "settings",
    [
        {"weights": dict.fromkeys(ONLY_ACCURACY, 0.0)},
        {"weights": ONLY_ACCURACY, "medxpert_accuracy_weight": 0},
        {"weights": {**ONLY_ACCURACY, "accuracy": 0.0, "safety": 1.0}, "safety_penalty_weight": 0},
    ],
)
def test_weights_that_leave_nothing_to_earn(settings):
    with pytest.raises(ConfigError, match="weight 0"):
        reward(**settings)


def test_an_episode_to_which_nothing_applies():
    register_component("safety", lambda _: None)
    with pytest.raises(ConfigError, match="No reward component applies") as told:
        scores([episode()], weights={**ONLY_ACCURACY, "accuracy": 0.0, "safety": 1.0})
    assert told.value.where == "question q1"
