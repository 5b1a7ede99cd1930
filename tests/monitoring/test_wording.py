import pytest

from maporl_cli.monitoring.wording import p_value, percent, points, points_between, probability, system


def test_shares_and_their_differences() -> None:
    assert [percent(share) for share in (0.0, 0.25, 1.0, -0.2292)] == [
        "0.0 %",
        "25.0 %",
        "100.0 %",
        "−22.9 %",
    ]
    assert [points(by) for by in (0.142, -0.034, 0.0, -0.0001)] == ["+14.2", "−3.4", "0.0", "0.0"]
    assert points_between([-0.021, 0.146]) == "−2.1 to +14.6"


@pytest.mark.parametrize(
    ("p", "told", "after_its_letter"),
    [
        (0.00099, "< .001", "p < .001"),
        (0.001, ".001", "p = .001"),
        (0.0312, ".031", "p = .031"),
        (1.0, "1.000", "p = 1.000"),
    ],
)
def test_p_values(p: float, told: str, after_its_letter: str) -> None:
    assert probability(p) == told
    assert p_value(p) == after_its_letter


def test_a_system_that_nobody_knows_keeps_its_name() -> None:
    assert system("majority") == "Majority of one agent's votes"
    assert system("mine") == "mine"
