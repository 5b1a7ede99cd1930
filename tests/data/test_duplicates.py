from __future__ import annotations

import itertools
import random
import re
from dataclasses import replace
from pathlib import Path

import pytest

from maporl_cli.core.types import Question
from maporl_cli.data.duplicates import content_number, group_near_duplicates
from maporl_cli.data.reading import read_questions

WORDS = [a + b + c for a in "bdfgk" for b in "aeiou" for c in ("l", "m", "n", "r", "st")]


def stem(seed: int, length: int = 40) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=length))


def question(text: str, options: tuple[str, ...] = ("yes", "no"), context: str = "") -> Question:
    return Question(
        id="q", text=text, options=dict(zip("ABCDEF", options, strict=False)), answer="A", context=context
    )


def test_the_same_question_has_one_number_whatever_its_case_spaces_and_order():
    one = question("Which  drug?", ("Aspirin", "Warfarin"), "Age 40.")
    same = question("which drug? ", ("warfarin", " ASPIRIN"), "age\n40.")
    assert content_number(one) == content_number(same)
    assert content_number(one) == content_number(replace(one, id="other", answer="B", rationale="r"))


@pytest.mark.parametrize(
    "other",
    [
        question("Which drug!", ("Aspirin", "Warfarin"), "Age 40."),
        question("Which drug?", ("Aspirin", "Heparin"), "Age 40."),
        question("Which drug?", ("Aspirin", "Warfarin"), "Age 41."),
        question("Which drug?", ("Aspirin", "Warfarin", "Heparin"), "Age 40."),
        question("Which drug? Age 40.", ("Aspirin", "Warfarin"), ""),
    ],
)
def test_another_question_has_another_number(other: Question):
    assert content_number(question("Which drug?", ("Aspirin", "Warfarin"), "Age 40.")) != content_number(
        other
    )


def test_edited_copies_are_in_one_cluster_and_others_are_not():
    questions: list[Question] = []
    for seed in range(40):
        words = stem(seed).split()
        edited = [*words[:20], "edited", *words[21:]]
        questions += [question(" ".join(words)), question(" ".join(edited)), question(" ".join(words[:-4]))]
    assert group_near_duplicates(questions) == [row // 3 for row in range(120)]


def test_a_cluster_is_a_chain():
    words = stem(1, 60).split()
    versions = [[*words[: 60 - 6 * n], *stem(2).split()[: 6 * n]] for n in range(4)]
    clusters = group_near_duplicates([question(" ".join(version)) for version in versions])
    assert clusters == [0, 0, 0, 0]
    assert group_near_duplicates([question(" ".join(versions[i])) for i in (0, 3)]) == [0, 1]


def test_clusters_are_numbered_by_their_first_question():
    a, b, c = (question(stem(seed)) for seed in range(3))
    assert group_near_duplicates([b, a, b, c, a]) == [0, 1, 0, 2, 1]
    assert group_near_duplicates([]) == []


def test_short_stems_need_their_options_to_be_told_apart():
    short = "Which of these is true?"
    one, other = ("alpha beta gamma", "delta epsilon zeta"), ("iron zinc copper", "lead tin silver")
    assert group_near_duplicates(
        [question(short, one), question(short, other), question(short, one[::-1])]
    ) == [
        0,
        1,
        0,
    ]


def test_a_long_stem_with_other_options_is_a_near_duplicate():
    assert group_near_duplicates([question(stem(1), ("a", "b")), question(stem(1), ("c", "d"))]) == [0, 0]


def test_the_context_tells_questions_apart():
    questions = [question("What now?", context=stem(seed)) for seed in (1, 2)]
    assert group_near_duplicates(questions) == [0, 1]


def test_texts_without_words_are_not_all_the_same():
    marks = [Question(id="q", text=text, options={}, answer="x") for text in ("???", "!!!", "???")]
    assert group_near_duplicates(marks) == [0, 1, 0]


def test_clusters_do_not_depend_on_the_order_of_rows():
    questions = [question(stem(seed % 30, 40 + seed % 3)) for seed in range(60)]
    order = random.Random(0).sample(range(60), 60)
    clusters, shuffled = (
        group_near_duplicates(questions),
        group_near_duplicates([questions[i] for i in order]),
    )
    for (i, one), (j, other) in itertools.combinations(enumerate(order), 2):
        assert (shuffled[i] == shuffled[j]) == (clusters[one] == clusters[other])


@pytest.mark.parametrize("name", ["mmlu_medical_500.jsonl", "medqa_test_first600.jsonl"])
def test_every_similar_pair_of_real_questions_is_found_and_no_other(shared_data: Path, name: str):
    questions = list(read_questions(shared_data / name))
    clusters = group_near_duplicates(questions)
    pairs = [word_pairs(question) for question in questions]
    for i, j in itertools.combinations(range(len(questions)), 2):
        similarity = len(pairs[i] & pairs[j]) / len(pairs[i] | pairs[j])
        assert not 0.45 < similarity < 0.7, "the files have no doubtful pairs"
        assert (clusters[i] == clusters[j]) == (similarity > 0.6)


def word_pairs(question: Question) -> set[tuple[str, str]]:
    words = re.findall(r"\w+", f"{question.text} {question.context}".casefold())
    if len(words) < 30:
        words += re.findall(r"\w+", " ".join(sorted(map(str.casefold, question.options.values()))))
    return set(itertools.pairwise(words))


def test_workers_find_the_same_clusters():
    questions = [question(f"{stem(row)} {'again' * (row % 2)}") for row in (1, 1, 2, 3, 3, 2)]
    alone = group_near_duplicates(questions)
    assert alone == group_near_duplicates(questions, workers=2)
    assert max(alone) > 0
