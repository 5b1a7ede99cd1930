from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pytest
import torch
from support import alone, tiny_policy

from maporl_cli.agents.policy import NotFinite, PlainReader, Policy, Scored
from maporl_cli.core.errors import ConfigError, DataError
from maporl_cli.core.randomness import Greedy
from maporl_cli.core.types import Episode, Question
from maporl_cli.evaluation.evaluate import answer_all
from maporl_cli.evaluation.letters import Letters
from maporl_cli.evaluation.plain_formats import mmlu_prompt, plain_format

BEGIN = 1
BEHIND = 50.0
"""What a stand-in says of places behind a letter's end: far likelier than any token."""


class Told(PlainReader):
    """A token a character, a document begins with one more; knows how likely each letter's tokens are."""

    def __init__(self, likely: Mapping[str, Sequence[float]], context: int = 10_000) -> None:
        self.version = 3
        self.likely = likely
        self.context = context
        self.asked: list[list[tuple[str, str]]] = []

    @property
    def context_length(self) -> int:
        return self.context

    def encode_plain(self, text: str) -> tuple[int, ...]:
        return (BEGIN, *map(ord, text))

    def score(self, prompts, completions, *, temperature: float) -> Scored:
        assert temperature == 1.0
        texts = ["".join(map(chr, ids)) for ids in completions]
        self.asked.append(list(zip(("".join(map(chr, ids[1:])) for ids in prompts), texts, strict=True)))
        longest = max(map(len, texts))
        rows = [[*self.likely[text], *[BEHIND] * (longest - len(text))] for text in texts]
        return Scored(torch.tensor(rows, requires_grad=True), torch.zeros(len(rows), longest))


def question(name: str = "q1", *letters: str, **others) -> Question:
    options = {letter: f"option {place}" for place, letter in enumerate(letters or ("A", "B", "C"))}
    return Question(name, "Which one?", options, next(iter(options)), **others)


def answered(policy: Policy, *batches: Sequence[Question]) -> list[Episode]:
    episodes = [[Episode(one, sample=0, step=0) for one in batch] for batch in batches]
    ended: list[int] = []
    Letters("reporter", policy).play_all(episodes, Greedy(), ended.append)
    assert ended == list(range(len(batches)))
    return [episode for batch in episodes for episode in batch]


LIKELY = {" A": (-1.0, -2.0), " B": (-0.5, -2.25), " C": (-4.0, -0.25), " AB": (-0.5, -1.0, -1.75)}


def test_the_sum_over_a_letters_tokens_decides() -> None:
    """-3, -2.75 and -4.25, though C's own token is the likeliest."""
    (episode,) = answered(Told(LIKELY), [question()])
    assert episode.answer == "B"


def test_what_stands_behind_a_shorter_letter_does_not_count() -> None:
    (episode,) = answered(Told(LIKELY), [question("q1", "A", "AB", "C")])
    assert episode.answer == "A"


def test_of_equals_the_first_is_the_answer() -> None:
    likely = {" A": (-4.0, -1.0), " B": (-1.0, -2.0), " C": (-2.0, -1.0)}
    (episode,) = answered(Told(likely), [question()])
    assert episode.answer == "B"


def test_the_turn_is_the_letter_and_costs_what_was_read_once() -> None:
    (episode,) = answered(Told(LIKELY), [question()])
    (turn,) = episode.turns
    assert (turn.agent, turn.round, turn.text, turn.finished, turn.policy_version) == (
        *("reporter", 0, "B", True),
        3,
    )
    assert turn.prompt_ids == (BEGIN, *map(ord, mmlu_prompt(episode.question)))
    assert turn.token_ids == tuple(map(ord, " B"))
    assert turn.logprobs == (-0.5, -2.25)
    assert turn.tokens == 1 + len(mmlu_prompt(episode.question)) + 2


def test_a_letter_goes_on_from_its_prompt_and_begins_no_document_of_its_own() -> None:
    policy = Told(LIKELY)
    answered(policy, [question()])
    asked = [row for rows in policy.asked for row in rows]
    assert asked == [(mmlu_prompt(question()), f" {letter}") for letter in "ABC"]


def test_no_more_rows_are_weighed_at_once_than_there_are_questions() -> None:
    policy = Told(LIKELY)
    answered(policy, [question("q1"), question("q2", "A", "B")], [question("q3")])
    assert [len(rows) for rows in policy.asked] == [2, 2, 1, 1, 1, 1]


def test_what_is_weighed_is_the_format_s() -> None:
    likely = {" yes": (-2.0,), " no": (-0.5, -0.25), " maybe": (-1.0,)}
    asked = Question("q1", "Does it?", {"A": "yes", "B": "no", "C": "maybe"}, "A")
    policy, format = Told(likely), plain_format("pubmedqa")
    episode = Episode(asked, sample=0, step=0)
    Letters("reporter", policy, format).play_all([[episode]], Greedy(), None)
    assert {prompt for rows in policy.asked for prompt, _ in rows} == {format.prompt(asked)}
    assert (episode.answer, episode.turns[0].text) == ("B", "B")
    assert episode.turns[0].token_ids == tuple(map(ord, " no"))


def worded(name: str, words: int) -> Question:
    text = " ".join(f"w{(7 * place + words) % 40}" for place in range(words))
    return Question(name, text, {"A": f"w{words}", "B": "w3"}, "A")


@pytest.mark.parametrize("seed", [0, 2])
def test_a_batch_changes_nothing_and_the_log_probabilities_are_the_models(seed: int) -> None:
    policy = tiny_policy(seed=seed)
    questions = [worded(f"q{words}", words) for words in (1, 30, 7, 18, 3, 12, 25, 5)]
    alone_ = answered(policy, *[[one] for one in questions])
    assert {episode.answer for episode in alone_} == {"A", "B"}
    for size in (3, 8):
        together = answered(policy, *[questions[at : at + size] for at in range(0, len(questions), size)])
        for one, other in zip(alone_, together, strict=True):
            assert one.answer == other.answer
            assert one.turns[0].logprobs == pytest.approx(other.turns[0].logprobs, abs=1e-5)
    for episode in alone_:
        ids = policy.tokenizer(mmlu_prompt(episode.question))["input_ids"]
        logprobs = policy._model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        letters = {letter: logprobs[policy.tokenizer.convert_tokens_to_ids(letter)].item() for letter in "AB"}
        assert episode.answer == max(letters, key=letters.__getitem__)
        assert episode.turns[0].logprobs == pytest.approx([letters[episode.answer]], abs=1e-5)


def test_a_question_that_does_not_fit_is_named_and_never_cut() -> None:
    fits = 1 + len(mmlu_prompt(question())) + len(" A")
    assert answered(Told(LIKELY, context=fits), [question()])[0].turns[0].tokens == fits
    policy = Told(LIKELY, context=fits - 1)
    with pytest.raises(DataError, match=r"(?s)question q7.*Fix: .*longer context"):
        answered(policy, [question("q7")])
    assert not policy.asked


def test_a_policy_that_reads_no_plain_text_is_refused() -> None:
    class Chatty(Policy):
        version = 0

    with pytest.raises(ConfigError, match=r"(?s)'reporter'.*Fix: .*encode_plain"):
        Letters("reporter", Chatty())


def test_letters_that_are_one_to_the_tokenizer_are_refused() -> None:
    """The tiny policy has words for A and B only; to it C and D are the same unknown word."""
    with pytest.raises(ConfigError, match=r"(?s)question q1.*A, C, D.*Fix: "):
        answered(tiny_policy(), [question("q1", "A", "C", "D")])


def test_damaged_weights_are_told_of() -> None:
    with pytest.raises(NotFinite, match="'reporter'"):
        answered(Told(LIKELY | {" C": (-1.0, math.nan)}), [question()])


def test_an_evaluation_that_was_cut_short_goes_on_from_its_records(tmp_path) -> None:
    records = tmp_path / "records.jsonl"

    def go(policy: Told) -> str:
        answer_all(
            Letters("reporter", policy),
            [Episode(question(f"q{place}"), sample=0, step=0) for place in range(5)],
            draws=Greedy(),
            batch_size=2,
            records=records,
            ranks=alone("reporter"),
            resume=True,
        )
        return records.read_text()

    whole = go(Told(LIKELY))
    assert whole.count('"answer": "B"') == 5
    records.write_text("".join(whole.splitlines(keepends=True)[:2]))
    policy = Told(LIKELY)
    assert go(policy) == whole
    assert sum(map(len, policy.asked)) == 3 * 3, "two of the five were answered already"
