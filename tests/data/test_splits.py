from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from support import split_in_memory

from maporl_cli.core.config import Config, DataConfig
from maporl_cli.core.errors import ConfigError, DataError
from maporl_cli.core.types import Question
from maporl_cli.data import benchmarks
from maporl_cli.data.duplicates import content_number
from maporl_cli.data.formats import to_row
from maporl_cli.data.partition import Sizes
from maporl_cli.data.splits import Split, load_split

NAMES = ("iron", "zinc", "lead", "gold", "tin", "silver", "copper", "nickel", "cobalt", "radium")


def question(number: int, **changes: str) -> Question:
    """Questions of different words; `number` and `number + 1000` are near-duplicates."""
    kind = number % 1000
    words = [NAMES[int(digit)] + place for place, digit in zip("abc", f"{kind:03}", strict=True)]
    text = " ".join(f"{word}{filler}" for filler in range(12) for word in words)
    return Question(
        id=f"q{number}",
        text=text + (" again" * (number // 1000)),
        options={"A": f"a{number}", "B": f"b{number}"},
        answer="A",
        labels={"kind": changes.get("kind", "x")},
    )


class Metals:
    name = "metals"
    roles = "guide"

    def train(self, seed: int) -> Iterator[Question]:
        return (replace(question(i), rationale=f"seed {seed}") for i in count())

    def evaluation(self, seed: int) -> Iterator[Question]:
        return (replace(question(900 + i), rationale=f"seed {seed}") for i in range(50))


@pytest.fixture(autouse=True)
def metals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmarks, "_registered", {"metals": Metals()})


def written(path: Path, questions: list[Question]) -> str:
    path.write_text("".join(json.dumps(to_row(question)) + "\n" for question in questions))
    return str(path)


def load(**data: object) -> Split:
    return load_split(Config(data=DataConfig.model_validate(data)))


def ids(questions: list[Question]) -> list[str]:
    return [question.id for question in questions]


def test_a_benchmark_gives_its_own_evaluation_questions():
    made = load(train="metals", sample_seed=7, max_train_samples=30, max_eval_samples=20)
    assert ids(made.train) == [f"q{i}" for i in range(30)]
    assert ids(made.eval) == [f"q{900 + i}" for i in range(20)]
    assert {q.rationale for q in made.train + made.eval} == {"seed 7"}
    assert set(made.sources) == {"metals (training)", "metals (evaluation)"}
    again = load(train="metals", sample_seed=7, max_train_samples=30, max_eval_samples=20)
    other = load(train="metals", sample_seed=8, max_train_samples=30, max_eval_samples=20)
    assert again.sources == made.sources
    assert not set(other.sources.values()) & set(made.sources.values())
    assert made.notes == []


def test_a_file_is_trained_on_and_another_evaluated_on(tmp_path: Path):
    train = written(tmp_path / "a.jsonl", [question(i) for i in range(30)])
    held_out = written(tmp_path / "b.jsonl", [question(i) for i in range(40, 60)])
    made = load(train=train, eval=held_out)
    assert ids(made.train) == [f"q{i}" for i in range(30)]
    assert ids(made.eval) == [f"q{i}" for i in range(40, 60)]
    assert made.sources == {
        path: hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in (train, held_out)
    }


def test_files_and_benchmarks_mix(tmp_path: Path):
    path = written(tmp_path / "a.jsonl", [question(i) for i in range(100, 130)])
    assert len(load(train=path, eval="metals").eval) == 50
    assert len(load(train="metals", max_train_samples=50, eval=path).eval) == 30


def test_a_part_of_a_file_is_held_out_with_near_duplicates_on_one_side(tmp_path: Path):
    path = written(tmp_path / "a.jsonl", [question(i + 1000 * copy) for i in range(50) for copy in (0, 1)])
    made = load(train=path)
    assert (len(made.train), len(made.eval)) == (80, 20)
    sides = [{int(name[1:]) % 1000 for name in ids(part)} for part in (made.train, made.eval)]
    assert not sides[0] & sides[1]
    assert made.notes == [f"20 of 100 rows of {path} held out for evaluation"]
    assert load(train=path) == made
    assert ids(load(train=path, sample_seed=1).eval) != ids(made.eval)
    assert len(load(train=path, eval_fraction=0.4).eval) == 40


def test_tuning_questions_are_a_part_of_the_training_questions_and_no_evaluation_question(tmp_path: Path):
    """50 questions and a near-duplicate of each: 20 are evaluated on; a quarter of the others is tuned on."""
    file = written(tmp_path / "a.jsonl", [question(i) for i in (*range(50), *range(1000, 1050))])
    whole = load(train=file)
    cut = load(train=file, tuning_fraction=0.25)
    assert (len(whole.train), len(whole.eval)) == (80, 20)
    assert (len(cut.train), len(cut.eval)) == (60, 20)
    assert sorted(ids([*cut.train, *cut.eval])) == sorted(ids(whole.train))
    kinds = [{int(name[1:]) % 1000 for name in ids(side)} for side in (cut.train, cut.eval, whole.eval)]
    assert sum(map(len, kinds)) == len(set.union(*kinds))
    assert "20 of 80 rows" in cut.notes[-1]


def test_tuning_questions_of_a_benchmark_and_of_files_with_their_own_evaluation(tmp_path: Path):
    whole = load(train="metals", max_train_samples=40)
    cut = load(train="metals", max_train_samples=40, tuning_fraction=0.5, max_eval_samples=6)
    assert set(ids(cut.eval)) < set(ids(whole.train))
    assert (len(cut.train), len(cut.eval)) == (20, 6)
    assert cut.sources != whole.sources
    train = written(tmp_path / "t.jsonl", [question(i) for i in range(10)])
    held_out = written(tmp_path / "e.jsonl", [question(i) for i in range(10, 20)])
    cut = load(train=train, eval=held_out, tuning_fraction=0.3)
    assert sorted(ids([*cut.train, *cut.eval])) == sorted(ids([question(i) for i in range(10)]))
    assert len(cut.eval) == 3


def test_samples_are_drawn_at_random_in_the_order_of_the_file(tmp_path: Path):
    train = written(tmp_path / "a.jsonl", [question(i) for i in range(200)])
    held_out = written(tmp_path / "b.jsonl", [question(i) for i in range(300, 400)])
    made = load(train=train, eval=held_out, max_train_samples=50, max_eval_samples=30)
    for drawn, first, size, of in ((made.train, 0, 50, 200), (made.eval, 300, 30, 100)):
        numbers = [int(name[1:]) for name in ids(drawn)]
        assert len(numbers) == size
        assert numbers == sorted(numbers)
        assert abs(sum(numbers) / size - first - of / 2) < of / 5, "a sample, not the first rows"
    again = load(train=train, eval=held_out, max_train_samples=50, max_eval_samples=30)
    assert (again.train, again.eval) == (made.train, made.eval)


def test_every_row_is_as_likely_to_be_drawn(tmp_path: Path):
    path = written(tmp_path / "a.jsonl", [question(i) for i in range(10)])
    held_out = written(tmp_path / "b.jsonl", [question(i) for i in range(20, 23)])
    drawn: Counter[str] = Counter()
    for seed in range(300):
        drawn.update(ids(load(train=path, eval=held_out, max_train_samples=4, sample_seed=seed).train))
    assert drawn.total() == 1200
    # 120 expected each, standard deviation 8.5.
    assert all(85 < drawn[f"q{i}"] < 155 for i in range(10))


def test_a_sample_of_a_file_keeps_its_held_out_share(tmp_path: Path):
    path = written(tmp_path / "a.jsonl", [question(i) for i in range(200)])
    made = load(train=path, max_train_samples=80)
    assert (len(made.train), len(made.eval)) == (80, 20)
    assert len(load(train=path, max_train_samples=80, max_eval_samples=5).eval) == 5


def test_shared_questions_are_refused_and_named(tmp_path: Path):
    train = written(tmp_path / "a.jsonl", [question(i) for i in range(30)])
    disguised = replace(
        question(7),
        id="other",
        text=question(7).text.upper() + "  ",
        options={"A": "B7", "B": "a7"},
        answer="B",
    )
    held_out = written(tmp_path / "b.jsonl", [question(50), disguised, question(9)])
    with pytest.raises(DataError, match="share 2 questions") as caught:
        load(train=train, eval=held_out)
    assert "a.jsonl line 8 = b.jsonl line 2; a.jsonl line 10 = b.jsonl line 3" in caught.value.message
    assert "maporl data split" in caught.value.message.splitlines()[-1]
    assert caught.value.exit_code == 3


def test_a_file_evaluated_on_itself_is_refused(tmp_path: Path):
    path = written(tmp_path / "a.jsonl", [question(i) for i in range(30)])
    with pytest.raises(DataError, match="share 30 questions"):
        load(train=path, eval=path)


def test_a_benchmark_that_overlaps_itself_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Metals, "evaluation", lambda self, seed: iter([question(3)]))
    with pytest.raises(DataError, match="metals question q3 = metals question q3"):
        load(train="metals", max_train_samples=10)


def test_near_duplicates_across_given_files_are_noted(tmp_path: Path):
    train = written(tmp_path / "a.jsonl", [question(i) for i in range(30)])
    held_out = written(tmp_path / "b.jsonl", [question(50), question(1004), question(1009)])
    (note,) = load(train=train, eval=held_out).notes
    assert note.startswith("2 training questions nearly repeat an evaluation question")
    assert "a.jsonl line 5 and b.jsonl line 2" in note


def test_bad_rows_that_are_allowed_are_noted(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    written(path, [question(i) for i in range(30)])
    path.write_text("{\n" + path.read_text() + "[]\n")
    with pytest.raises(DataError, match="line 1: not JSON"):
        load(train=str(path))
    notes = load(train=str(path), max_bad_rows=2).notes
    assert notes[0].startswith(f"2 bad rows of {path} left out: line 1: not JSON")
    assert "line 32: not an object but a list" in notes[0]


@pytest.mark.parametrize(
    ("name", "changes", "why"),
    [
        ("my_test.jsonl", {}, "its name has the word 'test'"),
        ("a.jsonl", {"id": "Text-17"}, "a.jsonl line 2 is from MedXpertQA"),
        ("a.jsonl", {"id": "test-00017"}, "a.jsonl line 2 is from MedQA's test split"),
        ("a.jsonl", {"labels": {"subject": "anatomy"}}, "a.jsonl line 2 is from MMLU"),
    ],
)
def test_a_public_test_set_is_trained_on_only_if_allowed(
    tmp_path: Path, name: str, changes: dict[str, str], why: str
):
    rows = [question(0), replace(question(1), **changes), *(question(i) for i in range(2, 30))]
    path = written(tmp_path / name, rows)
    other = written(tmp_path / "other.jsonl", [question(i) for i in range(50, 60)])
    for data in ({"train": path}, {"train": path, "eval": other}):
        with pytest.raises(DataError, match="is a public test set") as caught:
            load(**data)
        assert why in caught.value.message
        assert "--set data.allow_test_set=true" in caught.value.fix
        note = load(**data, allow_test_set=True).notes[0]
        assert note.startswith("trained on a public test set")
        assert why in note
    assert load(train=other, eval=path).notes == []


def test_rows_that_are_not_drawn_still_show_a_test_set(tmp_path: Path):
    rows = [*(question(i) for i in range(30)), replace(question(40), id="Text-1")]
    path = written(tmp_path / "a.jsonl", rows)
    for seed in range(5):
        with pytest.raises(DataError, match="MedXpertQA"):
            load(train=path, max_train_samples=4, sample_seed=seed)


def test_the_real_files(shared_data: Path):
    for name in ("medxpertqa_text_sampled.jsonl", "medqa_test_first600.jsonl", "mmlu_medical_500.jsonl"):
        with pytest.raises(DataError, match="public test set"):
            load(train=str(shared_data / name))
    mmlu = load(train=str(shared_data / "mmlu_medical_500.jsonl"), allow_test_set=True)
    assert (len(mmlu.train), len(mmlu.eval)) == (400, 100)
    assert not {content_number(q) for q in mmlu.train} & {content_number(q) for q in mmlu.eval}
    pubmedqa = load(
        train=str(shared_data / "pubmedqa_pqal_train500.json"),
        eval=str(shared_data / "medxpertqa_text_sampled.jsonl"),
    )
    assert (len(pubmedqa.train), len(pubmedqa.eval), pubmedqa.notes) == (500, 244, [])


def test_an_unknown_source_is_an_error(tmp_path: Path):
    with pytest.raises(ConfigError, match="did you mean 'metals'"):
        load(train="metalls")
    with pytest.raises(DataError, match="cannot be read"):
        load(train=str(tmp_path / "absent.jsonl"))
    with pytest.raises(ConfigError, match="did you mean 'metals'"):
        load(train="metals", max_train_samples=3, eval="metal")


def test_split_keeps_near_duplicates_on_one_side_and_strata_in_shares():
    questions = [question(i + 1000 * copy, kind="ab"[i % 2]) for i in range(50) for copy in (0, 1)]
    train, held_out = split_in_memory(questions, Sizes(eval_fraction=0.2), seed=0, stratify="kind")
    assert Counter(q.labels["kind"] for q in held_out) == {"a": 10, "b": 10}
    sides = [{int(q.id[1:]) % 1000 for q in part} for part in (train, held_out)]
    assert not sides[0] & sides[1]
    train, held_out = split_in_memory(questions, Sizes(train=30, eval=11), seed=0)
    assert (len(train), len(held_out)) == (30, 11)


def test_stratifying_by_a_field_that_no_row_has_is_an_error():
    with pytest.raises(DataError, match="No row has the field 'knid'") as caught:
        split_in_memory([question(i) for i in range(9)], Sizes(eval_fraction=0.3), seed=0, stratify="knid")
    assert "kind" in caught.value.why


def load_judged(**data: object) -> Split:
    """As `load`, with a verifier for questions without a gold answer."""
    return load_split(Config.model_validate({"data": data, "reward": {"verifier": "learned"}}))


def unlabelled(number: int) -> Question:
    return replace(question(number), answer="")


def test_questions_without_a_gold_answer_are_trained_on_with_a_verifier_and_refused_without(tmp_path: Path):
    train = written(tmp_path / "a.jsonl", [question(0), unlabelled(1), unlabelled(2), question(3)])
    held_out = written(tmp_path / "b.jsonl", [question(9)])
    made = load_judged(train=train, eval=held_out)
    assert [q.answer for q in made.train] == ["A", "", "", "A"]
    assert made.notes == ["2 of 4 training questions have no gold answer: the verifier judges them"]
    with pytest.raises(DataError, match="line 2: the label is missing; line 3: the label is missing") as told:
        load(train=train, eval=held_out)
    assert "--set reward.verifier=learned" in told.value.fix
    assert ids(load(train=train, eval=held_out, max_bad_rows=2).train) == ["q0", "q3"]


def test_no_question_without_a_gold_answer_is_evaluated_on(tmp_path: Path):
    train = written(tmp_path / "a.jsonl", [question(0)])
    held_out = written(tmp_path / "b.jsonl", [question(9), unlabelled(10)])
    with pytest.raises(DataError, match="line 2: the label is missing"):
        load_judged(train=train, eval=held_out)
    mixed = [question(i) if i % 2 else unlabelled(i) for i in range(50)]
    made = load_judged(train=written(tmp_path / "c.jsonl", mixed), eval_fraction=0.2)
    assert len(made.eval) == 5, "a fifth of those with a gold answer"
    assert all(q.has_gold for q in made.eval)
    assert (len(made.train), sum(q.has_gold for q in made.train)) == (45, 20)


def test_what_nearly_repeats_a_held_out_question_is_left_out(tmp_path: Path):
    rows = [question(i) for i in range(20)] + [unlabelled(i + 1000) for i in range(20)]
    made = load_judged(train=written(tmp_path / "a.jsonl", rows))
    held_out = {int(name[1:]) for name in ids(made.eval)}
    assert len(held_out) == 4
    assert {int(q.id[1:]) - 1000 for q in made.train if not q.has_gold} == set(range(20)) - held_out
    assert "4 rows of" in made.notes[1]


def test_a_verifier_needs_some_gold_answer_to_learn_from(tmp_path: Path):
    train = written(tmp_path / "a.jsonl", [unlabelled(i) for i in range(10)])
    held_out = written(tmp_path / "b.jsonl", [question(50)])
    for data in ({"train": train}, {"train": train, "eval": held_out}):
        with pytest.raises(DataError, match="No training question has a gold answer") as told:
            load_judged(**data)
        assert (told.value.where, "label" in told.value.fix) == (train, True)


def test_a_benchmark_may_have_questions_without_a_gold_answer_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Metals, "train", lambda self, seed: iter([question(0), unlabelled(1)]))
    assert [q.has_gold for q in load_judged(train="metals").train] == [True, False]
    with pytest.raises(DataError, match="metals question q1") as told:
        load(train="metals")
    assert "reward.verifier=learned" in told.value.fix
    monkeypatch.setattr(Metals, "evaluation", lambda self, seed: iter([unlabelled(901)]))
    with pytest.raises(DataError, match="metals question q901"):
        load_judged(train="metals")
