"""Accuracy: the answer decides; how well its justification fits decides the rest."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support import question, turn

from maporl_cli.core.types import Episode, Question
from maporl_cli.rewards.accuracy import Accuracy
from maporl_cli.rewards.similarity import PACKAGED, Similarity
from maporl_cli.rewards.stances import argued

plain = Accuracy(None)


@pytest.fixture(scope="module")
def with_meaning() -> Accuracy:
    return Accuracy(Similarity(PACKAGED))


def episode(answer, asked=None, text="Answer: A"):
    return Episode(asked or question(answer="A"), 0, 1, turns=[turn("reporter", text=text)], answer=answer)


class TestChoice:
    DRUGS = Question(
        id="q",
        text="A pregnant woman with asthma has high blood pressure. Which drug is the best?",
        options={"A": "Labetalol", "B": "Nifedipine", "C": "Lisinopril"},
        answer="B",
    )

    @pytest.mark.parametrize(("answer", "value"), [("A", 1.0), ("B", 0.0), ("a", 0.0), (None, 0.0)])
    def test_without_a_model_the_letter_is_all(self, answer, value):
        assert plain(episode(answer)).value == value

    def test_the_reason_is_given_where_it_is_zero(self):
        assert plain(episode("A")).reason == ""
        assert plain(episode("B")).reason == "answered 'B', the gold answer is 'A'"
        assert "no single answer" in plain(episode(None)).reason

    def test_what_the_text_says_beside_a_wrong_answer_earns_nothing(self, with_meaning):
        report = "Nifedipine is the best drug in pregnancy. Answer: C"
        assert with_meaning(episode("C", self.DRUGS, report)).value == 0.0

    @pytest.mark.parametrize("denial", ["Nifedipine is not the right drug", "I doubt that nifedipine helps"])
    def test_a_report_that_denies_its_own_answer(self, denial):
        told = plain(episode("B", self.DRUGS, f"{denial}. Answer: B"))
        assert (told.value, told.reason) == (0.0, "the report denies the option that it submits")

    def test_a_report_that_argues_for_another(self):
        told = plain(episode("B", self.DRUGS, "Labetalol is the best drug for her. Answer: B"))
        assert told.value == pytest.approx(0.4)
        assert "argues for another" in told.reason

    @pytest.mark.parametrize(
        "report",
        [
            "Labetalol narrows the airways. Drug of choice: nifedipine. Answer: B",
            "Labetalol lowers the pressure. Answer: B",
            "Nifedipine relaxes vessels, whereas labetalol narrows the airways. Answer: B",
        ],
    )
    def test_to_mention_another_is_not_to_argue_for_it(self, report):
        assert plain(episode("B", self.DRUGS, report)).value == 1.0

    @pytest.mark.parametrize(
        "report",
        [
            "Nifedipine is a poor drug. Answer: B",
            "Nifedipine is risky for her. Labetalol lowers the pressure. Answer: B",
        ],
    )
    def test_a_report_that_speaks_ill_of_its_own_answer(self, report):
        told = plain(episode("B", self.DRUGS, report))
        assert (told.value, told.reason) == (0.4, "the report speaks ill of the option that it submits")

    def test_where_a_harm_is_asked_for_to_tell_of_it_is_no_ill_word(self):
        asked = replace(
            self.DRUGS, text="Her asthma got worse. Which drug is most likely responsible?", answer="A"
        )
        assert (
            plain(episode("A", asked, "Labetalol is a risky and poor drug for her. Answer: A")).value == 1.0
        )

    @pytest.mark.parametrize(
        ("report", "verdict"),
        [
            ("We do not know whether oxygen lowers mortality.", "C"),
            ("Oxygen and mortality: trials point in both directions.", "C"),
            ("It remains to be seen if oxygen lowers mortality.", "C"),
            ("Oxygen has left mortality unchanged.", "B"),
            ("Oxygen made no difference to mortality.", "B"),
            ("Oxygen raised mortality.", "B"),
            ("Mortality was similar with oxygen.", "B"),
            ("Oxygen lowered mortality.", "A"),
        ],
    )
    def test_verdicts(self, report, verdict):
        asked = Question(
            "q", "Does oxygen lower mortality?", {"A": "yes", "B": "no", "C": "maybe"}, answer=verdict
        )
        assert max(argued(asked, report).items(), key=lambda item: item[1])[0] == verdict
        assert plain(episode(verdict, asked, f"{report} Answer: {verdict}")).value == 1.0
        for wrong in {"A", "B", "C"} - {verdict}:
            other = replace(asked, answer=wrong)
            assert plain(episode(wrong, other, f"{report} Answer: {wrong}")).value == pytest.approx(0.4)

    def test_a_fitting_justification_is_worth_more(self, with_meaning):
        bare = with_meaning(episode("B", self.DRUGS, "Answer: B")).value
        fitting = with_meaning(episode("B", self.DRUGS, "Nifedipine is safe in asthma. Answer: B")).value
        assert bare == pytest.approx(0.8)
        assert 0.85 < fitting <= 1.0


class TestWords:
    FREE = Question(
        id="f",
        text="A man has ascending weakness and absent reflexes. What is the most likely diagnosis?",
        options={},
        answer="Guillain-Barré syndrome",
    )

    def test_without_a_model_the_words_must_be_the_same(self):
        free = Question(id="f", text="t", options={}, answer="aspirin")
        assert plain(episode("ASPIRIN", free)).value == 1.0
        assert plain(episode("aspirin heparin warfarin", free)).value == 0.0

    def score(self, accuracy: Accuracy, report: str, answer: str) -> float:
        return accuracy(episode(answer, self.FREE, report)).value

    def test_the_gold_answer_in_a_sentence(self, with_meaning):
        report = "This is Guillain-Barré syndrome. Answer: Guillain-Barré syndrome"
        assert self.score(with_meaning, report, "Guillain-Barré syndrome") > 0.8

    def test_a_synonym_that_the_dictionary_knows(self, with_meaning):
        report = "This is acute inflammatory demyelinating polyradiculoneuropathy, Guillain-Barre syndrome."
        assert self.score(with_meaning, report, "Guillain-Barre syndrome") > 0.5

    @pytest.mark.parametrize(
        "report",
        [
            "It is not Guillain-Barré syndrome. Answer: myelitis",
            "A man has ascending weakness and absent reflexes. What is the most likely diagnosis?",
            "Answer: myelitis",
        ],
    )
    def test_what_is_no_answer_earns_nothing(self, report, with_meaning):
        assert self.score(with_meaning, report, report.rpartition("Answer: ")[2]) == 0.0
