"""Where snippets come from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import question

from maporl_cli.agents.evidence import FileEvidence, Index, NoEvidence, PoolEvidence, open_evidence
from maporl_cli.core.errors import DataError
from maporl_cli.core.types import Question, Snippet


def pool(*texts):
    return tuple(Snippet(f"e{index}", text) for index, text in enumerate(texts))


def ids(snippets):
    return [snippet.id for snippet in snippets]


def asked(snippets, name="q1"):
    return Question(id=name, text="t", options={}, answer="x", evidence=tuple(snippets))


DRUGS = pool(
    "metformin lowers glucose",
    "warfarin thins blood and warfarin interacts with aspirin",
    "aspirin thins blood",
    "insulin lowers glucose and insulin lowers potassium",
    "rest helps",
)


@pytest.mark.parametrize(
    ("query", "ranking"),
    [
        # by hand: a rare word outweighs a common one, a short text a long one, two words one
        ("metformin", ["e0"]),
        ("aspirin", ["e2", "e1"]),
        ("warfarin aspirin", ["e1", "e2"]),
        ("glucose", ["e0", "e3"]),
        ("potassium glucose", ["e3", "e0"]),
        ("Lowering GLUCOSE!", ["e0", "e3"]),
    ],
)
def test_bm25_against_a_ranking_made_by_hand(query, ranking):
    assert ids(Index(DRUGS).search(query, len(ranking))) == ranking


@pytest.mark.parametrize("count", [2, 7, 40])
def test_ties_keep_the_order_of_the_index(count):
    index = Index(pool(*["aspirin heart"] * count, "aspirin aspirin", "rest"))
    assert ids(index.search("aspirin", count)) == [f"e{count}", *(f"e{n}" for n in range(count - 1))]


@pytest.mark.parametrize("query", ["", "the of and", "zebra", "?!"])
def test_a_query_that_says_nothing_gets_the_first_snippets(query):
    assert ids(Index(DRUGS).search(query, 3)) == ["e0", "e1", "e2"]


@pytest.mark.parametrize("texts", [("the", "of", "and"), ("", "", "")])
def test_snippets_without_a_word_to_find(texts):
    assert ids(Index(pool(*texts)).search("aspirin", 2)) == ["e0", "e1"]


@given(st.lists(st.text(max_size=12), min_size=1, max_size=8), st.text(max_size=12), st.integers(1, 9))
def test_any_text_gives_k_different_snippets(texts, query, k):
    found = Index(pool(*texts)).search(query, k)
    assert len(set(ids(found))) == len(found) == min(k, len(texts))


def test_a_pool_that_fits_is_shown_whole_in_its_own_order():
    for k in (5, 6):
        assert PoolEvidence(k).retrieve(asked(DRUGS), "aspirin") == DRUGS
    assert ids(PoolEvidence(4).retrieve(asked(DRUGS), "aspirin"))[:2] == ["e2", "e1"]
    assert PoolEvidence(4).retrieve(question(), "aspirin") == ()


def test_a_pool_belongs_to_its_question_even_where_two_files_use_the_same_id():
    evidence = PoolEvidence(1)
    assert ids(evidence.retrieve(asked(DRUGS), "aspirin")) == ["e2"]
    other = (Snippet("o1", "rest"), Snippet("o2", "aspirin"))
    assert ids(evidence.retrieve(asked(other), "aspirin")) == ["o2"]
    assert ids(evidence.retrieve(asked(DRUGS), "aspirin")) == ["e2"]


def test_no_evidence():
    assert NoEvidence().retrieve(asked(DRUGS), "aspirin") == ()


def test_a_file_is_one_index_for_all_questions(tmp_path):
    path = tmp_path / "evidence.jsonl"
    path.write_text(
        '{"id": "f1", "text": "aspirin thins blood"}\n\n{"id": 2, "text": "rest", "level": "rct", "x": 1}\n'
    )
    evidence = FileEvidence(path, 1)
    assert evidence.retrieve(asked(DRUGS), "rest") == (Snippet("2", "rest", "rct"),)
    assert evidence.retrieve(question(), "aspirin") == (Snippet("f1", "aspirin thins blood"),)


@pytest.mark.parametrize("row", ["{", "[1, 2]", '{"id": "x"}', '{"text": "x"}', "7", "null", '"id text"'])
def test_a_bad_row_is_named_by_file_and_line(tmp_path, row):
    path = tmp_path / "evidence.jsonl"
    path.write_text('{"id": "f1", "text": "fine"}\n\n' + row + "\n")
    with pytest.raises(DataError) as told:
        FileEvidence(path, 1)
    assert told.value.where == f"{path}:3"
    assert told.value.exit_code == 3


def test_a_file_that_cannot_be_read(tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "binary.jsonl").write_bytes(b'{"id": "x", "text": "\xff\xfe"}\n')
    for name in ("absent.jsonl", "empty.jsonl", "binary.jsonl", "."):
        with pytest.raises(DataError, match="Fix:") as told:
            FileEvidence(tmp_path / name, 1)
        assert str(tmp_path / name) in told.value.where


def test_the_configs_names(tmp_path):
    path = tmp_path / "evidence.jsonl"
    path.write_text('{"id": "f1", "text": "fine"}\n')
    assert isinstance(open_evidence("none", 2), NoEvidence)
    assert len(open_evidence("pool", 2).retrieve(asked(DRUGS), "aspirin")) == 2
    assert ids(open_evidence(str(path), 2).retrieve(asked(DRUGS), "aspirin")) == ["f1"]


def test_a_server_that_meets_new_pools_for_ever_keeps_some_of_their_indexes():
    found = PoolEvidence(top_k=1)
    for number in range(300):
        asked = Question("q", "aspirin", {}, "", evidence=pool(f"aspirin {number}", "rest"))
        assert len(found.retrieve(asked, "aspirin")) == 1
    assert found._index.cache_info().currsize == 256
