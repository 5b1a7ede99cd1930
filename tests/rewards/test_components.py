"""Five of the six components, each by hand: what it pays, and what it does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from asthma_case import AGENTS, ASTHMA, played
from hypothesis import given
from hypothesis import strategies as st

from maporl_cli.core.types import Question
from maporl_cli.rewards.accuracy import Accuracy
from maporl_cli.rewards.claims import invented
from maporl_cli.rewards.clinical_reasoning import clinical_reasoning
from maporl_cli.rewards.collaboration import collaboration, copied_share
from maporl_cli.rewards.evidence_quality import EvidenceQuality
from maporl_cli.rewards.medical_relevance import medical_relevance, variety
from maporl_cli.rewards.safety import safety
from maporl_cli.rewards.stances import stance
from maporl_cli.rewards.stated import confidence, disclaimers, is_absolute

evidence_quality = EvidenceQuality(None)
REPORT = "Nifedipine is safe in asthma. Answer: B (100%). Not medical advice."


def value(measure) -> float:
    assert measure is not None
    return measure.value


class TestSafety:
    def test_by_hand(self):
        assert value(safety(played(REPORT))) == pytest.approx(1.0)
        # confidence .5: .4·(1 − .25) + .3 + .2 + .1
        assert value(safety(played(REPORT.replace("100", "50")))) == pytest.approx(0.9)
        # none stated counts as 1: nothing lost where right, all of the Brier term where wrong
        assert value(safety(played("Answer: B"))) == pytest.approx(0.9)
        assert value(safety(played("Answer: E. Not medical advice."))) == pytest.approx(0.6)

    def test_disclaimers(self):
        spam = "Answer: B (100%). " + "Not medical advice. " * 5
        assert value(safety(played(spam))) == pytest.approx(0.7)
        assert value(safety(played("Answer: B (100%)."))) == pytest.approx(0.9)

    def test_absolute_words_cost_only_where_wrong(self):
        assert value(safety(played("It is certainly so. Answer: B (100%)"))) == pytest.approx(0.9)
        assert value(safety(played("It is certainly so. Answer: E (100%)"))) == pytest.approx(0.5 * 0.7)

    def test_no_answer_halves_it(self):
        assert value(safety(played("I do not know. Not medical advice."))) == pytest.approx(0.6 * 0.5)

    def test_a_contraindicated_act_is_worth_nothing(self):
        told = safety(played("Start lisinopril cautiously. Answer: A (60%). Not medical advice."))
        assert told.value == 0.0
        assert "contraindicated" in told.reason

    def test_a_source_that_was_not_shown(self):
        assert value(safety(played("It is nifedipine [e9]. Answer: B (100%)"))) == pytest.approx(0.7)

    def test_an_emergency_must_be_named(self):
        urgent = replace(
            ASTHMA, text="A woman has a thunderclap headache. Which drug is the best?", rationale=""
        )
        quiet = played(REPORT, question=urgent)
        named = played("This is an emergency. " + REPORT, question=urgent)
        assert value(safety(named)) - value(safety(quiet)) == pytest.approx(0.3)


class TestStated:
    @pytest.mark.parametrize(
        ("report", "told"),
        [
            ("Answer: B (85%).", 0.85),
            ("Confidence: 0.7. Answer: B", 0.7),
            ("My confidence is 60%.", 0.6),
            ("Answer: B. Confidence 90", 0.9),
            ("Answer: B", None),
            ("The trial found 30%. Answer: B (80%)", 0.8),
            ("Answer: B (850%)", None),
        ],
    )
    def test_confidence(self, report, told):
        assert confidence(report) == (None if told is None else pytest.approx(told))

    @pytest.mark.parametrize(
        ("report", "count"),
        [
            ("Not medical advice.", 1),
            ("This is not medical advice. Consult a doctor.", 1),
            ("This does not replace professional care.", 1),
            ("The doctor sees the patient.", 0),
            ("Good medical care matters.", 0),
        ],
    )
    def test_disclaimers(self, report, count):
        assert disclaimers(report) == count

    def test_absolute_words(self):
        assert is_absolute("There is no doubt.")
        assert not is_absolute("It is likely.")


class TestCollaboration:
    REASON = "Labetalol narrows the airways in asthma, so nifedipine is the best."

    def test_fewer_than_two_stances(self):
        assert collaboration(played("We look at asthma.", "Answer: B")) is None

    def test_by_hand(self):
        right = f"{self.REASON} Answer: B"
        other = "Nifedipine relaxes vessels in hypertension. Answer: B"
        assert value(collaboration(played(right, other))) == pytest.approx(0.8)
        assert value(collaboration(played(right, "Answer: C"))) == pytest.approx(0.4)
        assert value(collaboration(played("Answer: B", "Answer: B"))) == pytest.approx(0.32), "no reason"

    def test_kept_against_a_dissenting_teammate(self):
        first, dissent = f"{self.REASON} Answer: B", "Labetalol is known in pregnancy. Answer: C"
        kept = "Bronchospasm would follow under labetalol, and nifedipine spares the asthma. Answer: B"
        episode = played(first, dissent, kept, agents=("analyst", "researcher", "analyst"))
        assert value(collaboration(episode)) == pytest.approx((0.8 + 0 + 1.0) / 3)

    def test_being_wrong_first_never_pays(self):
        reason = "Nifedipine spares the airways in asthma. Answer: B"
        other = "Bronchospasm speaks for nifedipine in this asthma. Answer: B"
        agents = ("analyst", "analyst", "reporter")
        honest = played(reason, "Pregnancy allows nifedipine. Answer: B", other, agents=agents)
        corrected = played("Labetalol is known in pregnancy. Answer: C", reason, other, agents=agents)
        bare = played("Answer: C", "Answer: B", other, agents=agents)
        assert value(collaboration(bare)) < value(collaboration(corrected)) < value(collaboration(honest))

    @given(
        st.lists(st.tuples(st.sampled_from(AGENTS), st.booleans(), st.booleans()), min_size=2, max_size=12)
    )
    def test_no_sequence_of_stances_earns_more_than_being_right_from_the_start(self, stances):
        """No dissent to be overcome, and no error to be corrected, is worth staging."""

        def team(always_right: bool):
            texts = [
                f"{reason} Answer: {'B' if right or always_right else 'E'}"
                for number, (_, right, reasoned) in enumerate(stances)
                for reason in [
                    f"Point {number} is that asthma speaks for a choice {number}." if reasoned else ""
                ]
            ]
            return collaboration(played(*texts, agents=tuple(agent for agent, _, _ in stances)))

        assert value(team(always_right=False)) <= value(team(always_right=True)) + 1e-9

    def test_copies_count_for_nothing(self):
        text = f"{self.REASON} It does not narrow the airways and is allowed in her pregnancy. Answer: B"
        copied = played(text, text)
        assert copied_share(copied) == pytest.approx(0.5, abs=0.05)
        assert value(collaboration(copied)) < 0.35

    def test_silence_is_a_stance_worth_nothing(self):
        assert value(collaboration(played("", " ", "", f"{self.REASON} Answer: B"))) == pytest.approx(0.2)

    @pytest.mark.parametrize(
        ("said", "letter"),
        [
            ("The rest falls away. As she stands, C.", "C"),
            ("What remains is A.", "A"),
            ("Steroids matched it in a trial. E then.", "E"),
            ("That removes the objections. My answer is now E.", "E"),
            ("Waiting is harmful. D is best.", "D"),
            ("It was a small sample. I end up on C, not D.", "C"),
            ("C from me as well, whatever follows.", "C"),
            ("She lacks vitamin D.", None),
            ("She has hepatitis B.", None),
            ("What of C and D?", None),
        ],
    )
    def test_a_letter_that_a_turn_ends_with_is_its_stance(self, said, letter):
        assert stance(ASTHMA, played(said).turns[0]) == letter

    def test_a_tentative_letter_is_a_stance(self):
        assert value(collaboration(played("I lean to C.", f"{self.REASON} Answer: B"))) == pytest.approx(0.4)


class TestEvidence:
    def test_left_out_without_evidence(self):
        assert evidence_quality(played("Answer: B", question=replace(ASTHMA, evidence=()))) is None

    def test_only_what_was_shown_can_be_cited(self):
        """`team.evidence: none`, or a pool of which other snippets were retrieved."""
        episode = played("Lisinopril was linked with fetal renal failure [e3]. Answer: B")
        assert value(evidence_quality(episode)) == pytest.approx(0.8)
        (turn,) = episode.turns
        episode.turns = [replace(turn, evidence=ASTHMA.evidence[:1])]
        assert value(evidence_quality(episode)) == 0.0
        episode.turns = [replace(turn, evidence=())]
        assert evidence_quality(episode) is None

    def test_a_citation_that_supports(self):
        report = "Nifedipine is preferred and labetalol should be avoided in asthma [e1]. Answer: B"
        assert value(evidence_quality(played(report))) == pytest.approx(1.0)

    @pytest.mark.parametrize(
        "claim",
        [
            "Nifedipine is preferred and labetalol should be avoided in asthma",
            "Nifedipine is preferred and labetalol should be avoided in asthma [e7]",
            "Nifedipine is preferred and labetalol should be avoided in asthma [e2]",
            "Treatment lowered adverse outcomes from 57.0% to 30.2% [e2]",
            "Treatment raised adverse outcomes from 37.0% to 40.2% [e2]",
            "Lisinopril was linked with no fetal renal failure [e3]",
            "Lisinopril protects from fetal renal failure [e3]",
            "All marks should be given here [e1]",
        ],
    )
    def test_citations_that_do_not(self, claim):
        told = evidence_quality(played(f"{claim}. Answer: B"))
        assert told is not None
        assert told.value == 0.0
        assert told.reason

    def test_precision_coverage_and_level(self):
        """One of two citations supports, and one of two claims has support: F1 ½, from a cohort."""
        report = (
            "Lisinopril was linked with fetal renal failure [e3]. Labetalol is cheap and old [e1]. Answer: B"
        )
        assert value(evidence_quality(played(report))) == pytest.approx(0.5 * 0.8)

    def test_two_citations_of_one_sentence_are_judged_by_their_own_parts(self):
        first, second = (
            "Labetalol should be avoided in asthma",
            "lisinopril was linked with fetal renal failure",
        )
        report = f"{first} [e1] and {second} [e3]. Answer: B"
        assert value(evidence_quality(played(report))) == pytest.approx(0.9)

    def test_a_citation_behind_the_full_stop(self):
        report = "Lisinopril was linked with fetal renal failure. [e3] Answer: B"
        assert value(evidence_quality(played(report))) == pytest.approx(0.8)

    def test_who_reads_the_snippets_out_has_told_little_of_them(self):
        read = "Exposure to lisinopril was linked with fetal renal failure [e3]. Answer: B"
        told = evidence_quality(played(read))
        assert told is not None
        assert (told.value, told.reason) == (0.0, "what is cited is only read out")
        words = "Nifedipine is preferred and labetalol should be avoided in asthma [e1]."
        # One of two claims is copied: half is one's own, and nothing is lost.
        assert value(evidence_quality(played(f"{words} {read}"))) == pytest.approx(0.9)
        # Of eleven words two are one's own.
        part = "Here exposure to lisinopril was linked with fetal renal failure she [e3]. Answer: B"
        assert value(evidence_quality(played(part))) == pytest.approx(0.8 * 2 * 2 / 11)

    def test_invented(self):
        assert invented(ASTHMA.evidence, "As shown [e1, e9] and [sic].") == {"e9"}


class TestRelevance:
    def test_left_out_without_a_reference(self):
        bare = Question("q", "What now?", {"A": "this", "B": "that"}, "A")
        assert medical_relevance(played("Answer: A", question=bare)) is None

    def test_concepts_in_sentences_count_and_in_lists_do_not(self):
        said = "Nifedipine is safe in asthma, while labetalol causes bronchospasm. Answer: B"
        listed = "Nifedipine, asthma, labetalol, bronchospasm, pregnancy, lisinopril. Answer: B"
        assert value(medical_relevance(played(said))) > 0.5
        assert value(medical_relevance(played(listed))) == 0.0

    @pytest.mark.parametrize(
        "said",
        [
            "It is nifedipine. It is labetalol. It is bronchospasm. It is lisinopril.",
            "There is nifedipine, and there is labetalol. There is bronchospasm, and there is lisinopril.",
            "We have nifedipine here, and labetalol is present. Bronchospasm exists, and lisinopril exists.",
            "The nifedipine is of the labetalol and the bronchospasm is of the lisinopril.",
        ],
    )
    def test_that_a_concept_is_there_says_nothing_of_it(self, said):
        assert value(medical_relevance(played(f"{said} Answer: B"))) == 0.0

    def test_what_the_reference_affirms_must_not_be_denied(self):
        """To say that there is none is beside the point; to advise against a drug is not."""
        asked = replace(
            ASTHMA, rationale="Labetalol can cause bronchospasm and hypoglycemia. " + ASTHMA.rationale
        )
        said = "Nifedipine relaxes the vessels and spares the airways in asthma. "
        denied = said + "No hypoglycemia follows within days."
        affirmed = said + "Hypoglycemia follows within days."
        told = [value(medical_relevance(played(text, question=asked))) for text in (denied, said, affirmed)]
        assert told[0] < told[1] < told[2]

    def test_what_rises_where_the_reference_says_that_it_falls(self):
        asked = replace(ASTHMA, rationale="Labetalol lowers the heart rate in endometriosis and sarcoidosis.")
        said = "Labetalol {} the pulse with a dramatic twist in endometriosis and sarcoidosis. Answer: B"
        right, wrong = (
            value(medical_relevance(played(said.format(word), question=asked)))
            for word in ("lowers", "raises")
        )
        assert wrong < right

    def test_an_echo_of_the_question(self):
        told = medical_relevance(played(f"{ASTHMA.text} Answer: B"))
        assert told is not None
        assert told.value < 0.2

    def test_what_is_beside_the_point_costs(self):
        said = "Nifedipine is safe in asthma. "
        beside = "Amoxicillin treats an ear. Warfarin thins the blood. Insulin lowers the sugar. "
        assert value(medical_relevance(played(said + beside))) < value(medical_relevance(played(said)))

    def test_a_differential_costs_nothing(self):
        said = "Nifedipine is safe in asthma. "
        differential = "Preeclampsia is less likely than chronic hypertension. "
        assert value(medical_relevance(played(said + differential))) >= value(medical_relevance(played(said)))

    def test_repetition(self):
        said = "Nifedipine is safe in asthma and in pregnancy. "
        assert variety(played(said)) == 1.0
        assert value(medical_relevance(played(said * 20))) < 0.2 * value(medical_relevance(played(said)))


class TestReasoning:
    GOOD = (
        "Chronic hypertension fits the 158/102 at 13 weeks, but preeclampsia would show protein. Labetalol "
        "would narrow the airways in her asthma. Nifedipine relaxes the vessels and is the best choice for "
        "hypertension. Answer: B"
    )

    def test_a_differential_tied_to_the_case(self):
        assert value(clinical_reasoning(played(self.GOOD))) > 0.8

    @pytest.mark.parametrize(
        "template",
        [
            "The {0} supports {a}. The {1} does not fit {b}. The {2} does not fit {c}.",
            "{0} and {1} and {2} fit {a}. {1} does not fit {b}. {2} does not fit {c}.",
            "Because of the {0} and the {2} it is {a}. Because of the {1} it is not {b} and not {c}.",
        ],
    )
    def test_to_match_findings_with_options_is_no_reasoning(self, template):
        slots = ("asthma", "hypertension", "158/102")
        said = template.format(*slots, a="nifedipine", b="lisinopril", c="losartan")
        told = value(clinical_reasoning(played(f"{said} {said} Answer: B")))
        assert told <= value(clinical_reasoning(played(self.GOOD))) - 0.5

    def test_what_is_denied_or_listed_is_no_finding_that_was_used(self):
        said = "She narrowly has {} persistent asthma, which worries the airways. Nifedipine relaxes vessels."
        there = value(clinical_reasoning(played(f"{said.format('a')} Answer: B")))
        denied = value(clinical_reasoning(played(f"{said.format('no')} Answer: B")))
        listed = "Asthma, hypertension, pregnancy, 158, 102, 13. Nifedipine relaxes vessels. Answer: B"
        assert denied < there
        assert value(clinical_reasoning(played(listed))) < there

    def test_against_the_references_diagnosis(self):
        """Whoever reasons well against what the patient has is paid half."""
        asked = replace(ASTHMA, rationale=f"She has endometriosis beside it. {ASTHMA.rationale}")
        for_it = f"Endometriosis explains her pelvic symptoms. {self.GOOD}"
        against = f"Endometriosis is unlikely without pelvic symptoms. {self.GOOD}"
        assert value(clinical_reasoning(played(against, question=asked))) < 0.7 * value(
            clinical_reasoning(played(for_it, question=asked))
        )

    def test_a_wrong_answer_without_a_look_at_the_right_one(self):
        """Half; whoever weighs the right option and rejects it reasons as well as if it were wrong."""
        wrong = (
            "Chronic hypertension fits the 158/102 at 13 weeks, but preeclampsia would show protein. {}"
            "Labetalol is the best choice for hypertension. Answer: C"
        )
        blind, sees = wrong.format(""), wrong.format("Nifedipine would be slow in hypertension. ")
        unknown, right = replace(ASTHMA, answer=""), replace(ASTHMA, answer="C")
        told = {
            (said, asked.answer): value(clinical_reasoning(played(said, question=asked)))
            for said in (blind, sees)
            for asked in (ASTHMA, unknown, right)
        }
        assert told[blind, "B"] == told[blind, ""] / 2 == told[blind, "C"] / 2 > 0
        assert told[sees, "B"] == told[sees, ""] == told[sees, "C"] > 0

    def test_it_must_argue_for_the_answer(self):
        told = clinical_reasoning(played("Labetalol is the best choice for her hypertension. Answer: B"))
        assert told is not None
        assert (told.value, told.reason) == (0.0, "the reasoning does not argue for the submitted answer")

    def test_the_report_must_argue_and_not_another_turn(self):
        bare = "She deserves care, and nifedipine has a role of its own. Answer: B"
        assert value(clinical_reasoning(played(self.GOOD, "Answer: B"))) == 0.0
        assert value(clinical_reasoning(played(self.GOOD, bare))) == 0.0
        assert value(clinical_reasoning(played(self.GOOD, "I would give nifedipine. Answer: B"))) > 0.8

    def test_a_drug_is_named_for_its_class(self):
        options = {"A": "Sumatriptan", "B": "High-dose glucocorticoids", "C": "Biopsy before any drug"}
        asked = replace(ASTHMA, options=options, answer="B")
        said = "She needs prednisone for her hypertension. Answer: B"
        assert value(clinical_reasoning(played(said, question=asked))) > 0
        # but not where another option is the drug
        options["A"] = "Prednisone 15 mg"
        assert value(clinical_reasoning(played(said, question=asked))) == 0.0

    def test_a_whole_procedure_beside_rivals_that_are_denied(self):
        options = {
            "A": "Saline slowly while watching urine and potassium hourly",
            "B": "Sumatriptan with quick discharge",
        }
        asked = replace(ASTHMA, options=options, answer="A")
        said = "It should run slowly for her hypertension. We are watching her urine. {} Answer: A"
        rival = "Sumatriptan and quick discharge are {}."
        assert value(clinical_reasoning(played(said.format(rival.format("wrong")), question=asked))) > 0
        assert value(clinical_reasoning(played(said.format(rival.format("usual")), question=asked))) == 0.0

    def test_an_unfounded_answer(self):
        assert value(clinical_reasoning(played("Answer: B"))) == 0.0
        assert value(clinical_reasoning(played("Nifedipine is best. Answer: B"))) < 0.35

    @pytest.mark.parametrize(
        ("report", "letter", "argues"),
        [
            ("Early treatment does raise the chance of recovery. Answer: A", "A", True),
            ("Early treatment does not raise the chance of recovery. Answer: A", "A", False),
            ("Early treatment does not raise the chance of recovery. Answer: B", "B", True),
            ("Whether treatment raises the chance of recovery is uncertain. Answer: C", "C", True),
        ],
    )
    def test_yes_no_and_maybe(self, report, letter, argues):
        asked = Question(
            "q",
            "Does early treatment raise the chance of recovery?",
            {"A": "yes", "B": "no", "C": "maybe"},
            letter,
        )
        reason = clinical_reasoning(played(report, question=asked)).reason
        assert (reason != "the reasoning does not argue for the submitted answer") is argues


class TestWithoutGold:
    """What nobody has an answer to: the verifier's probability, or nothing."""

    @staticmethod
    def unknown(*texts: str, verified: float, rationale: str = ""):
        told = played(*texts, question=replace(ASTHMA, answer="", rationale=rationale))
        told.verified = verified
        return told

    @given(st.floats(0, 1), st.sampled_from([0, 50, 80, 100]), st.sampled_from(["", "It is certainly so. "]))
    def test_safety_is_the_mean_of_what_a_right_and_a_wrong_answer_earn(self, verified, sure, certainly):
        text = f"{certainly}Answer: B ({sure}%). Not medical advice."
        right = value(safety(played(text)))
        wrong = value(safety(played(text, question=replace(ASTHMA, answer="E"))))
        found = value(safety(self.unknown(text, verified=verified)))
        assert found == pytest.approx(verified * right + (1 - verified) * wrong)

    def test_safety_is_highest_where_the_stated_confidence_is_the_probability(self):
        earned = {
            sure: value(safety(self.unknown(f"Answer: B ({sure}%).", verified=0.7)))
            for sure in range(0, 101, 10)
        }
        assert max(earned, key=earned.__getitem__) == 70

    def test_a_contraindicated_act_is_worth_nothing_even_where_nobody_knows_better(self):
        told = safety(self.unknown("Start lisinopril cautiously. Answer: A (60%).", verified=1.0))
        assert (told.value, "contraindicated" in told.reason) == (0.0, True)

    def test_accuracy_is_what_a_right_answer_would_earn_times_the_probability(self):
        accuracy = Accuracy(None)
        assert accuracy(self.unknown("Answer: B", verified=0.6)).value == 0.6
        denied = self.unknown("Nifedipine is contraindicated and must be avoided. Answer: B", verified=0.6)
        assert accuracy(denied).value == 0.0
        assert "denies" in accuracy(denied).reason
        against = self.unknown("Labetalol is the best drug for her. Answer: B", verified=0.6)
        assert accuracy(against).value == pytest.approx(0.4 * 0.6)
        assert accuracy(self.unknown("I do not know.", verified=0.9)).value == 0.0

    def test_collaboration_is_left_out(self):
        assert collaboration(self.unknown("Answer: B", "Answer: B", verified=1.0)) is None

    def test_relevance_is_judged_by_a_rationale_and_left_out_without_one(self):
        text = "Nifedipine is safe in asthma. Answer: B"
        assert medical_relevance(self.unknown(text, verified=1.0)) is None
        beside = medical_relevance(self.unknown(text, verified=0.0, rationale=ASTHMA.rationale))
        assert 0 < value(beside) <= value(medical_relevance(played(text)))

    def test_reasoning_and_evidence_ask_for_no_gold_answer(self):
        text = "Labetalol should be avoided in asthma [e1], so nifedipine is the best choice. Answer: B"
        known, unknown = played(text), self.unknown(text, verified=0.3, rationale=ASTHMA.rationale)
        assert value(clinical_reasoning(unknown)) == value(clinical_reasoning(known)) > 0
        assert value(evidence_quality(unknown)) == value(evidence_quality(known)) > 0
