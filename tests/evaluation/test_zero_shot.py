"""The published zero-shot talk: its words to the letter, and what is read and kept of the two replies."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pytest

from maporl_cli.agents.policy import Converser, Message, Sample, Speaker
from maporl_cli.core.errors import ConfigError, DataError, Interrupted
from maporl_cli.core.randomness import Draws, Greedy, Sampled
from maporl_cli.core.types import Episode, Question, Snippet
from maporl_cli.data.formats import read_row
from maporl_cli.evaluation.records import record_of
from maporl_cli.evaluation.zero_shot import ZeroShot, opening

CASE = Question(
    "q1", "A woman of 71 has gout.\nWhat now?", {"A": "aspirin", "B": "colchicine", "C": "surgery"}, "B"
)
SYSTEM = ("system", "You are a helpful medical assistant.")


class Talker(Converser):
    """Replies by a function of the talk; a token is a character."""

    def __init__(self, reply: Callable[[list[Message]], str], context: int = 10_000) -> None:
        self.version = 2
        self.context = context
        self.heard: list[list[Message]] = []
        self.asked: list[tuple[int, int, float]] = []
        self.drawn: list[list[float | None]] = []
        self._reply = reply

    @property
    def context_length(self) -> int:
        return self.context

    def encode_talk(self, messages):
        return tuple(map(ord, json.dumps(messages)))

    def decode(self, token_ids):
        return "".join(map(chr, token_ids)).strip()

    def sample(self, prompts, generators, *, max_new_tokens, temperature):
        talks = [[tuple(one) for one in json.loads(self.decode(prompt))] for prompt in prompts]
        self.heard += talks
        self.asked.append((len(prompts), max_new_tokens, temperature))
        self.drawn.append([None if draw is None else draw.random() for draw in generators])
        return [Sample(ids := tuple(map(ord, self._reply(talk))), (-1.0,) * len(ids), True) for talk in talks]


def thinks_and_says(thought: str, reply: str) -> Callable[[list[Message]], str]:
    return lambda talk: thought if len(talk) == 2 else reply


def asked(
    talker: Speaker,
    *batches: Sequence[Question],
    draws: Draws | None = None,
    stopping: Callable[[], bool] = lambda: False,
    max_new_tokens: int = 50,
) -> list[Episode]:
    episodes = [[Episode(one, sample=0, step=0) for one in batch] for batch in batches]
    ended: list[int] = []
    player = ZeroShot("reporter", talker, max_new_tokens=max_new_tokens, temperature=0.7, stopping=stopping)
    player.play_all(episodes, draws or Greedy(), ended.append)
    assert ended == list(range(len(batches)))
    return [episode for batch in episodes for episode in batch]


def test_the_talk_is_the_published_one() -> None:
    talker = Talker(thinks_and_says(" Gout is treated with colchicine. ", "B"))
    (episode,) = asked(talker, [CASE])
    first = [
        SYSTEM,
        (
            "user",
            "Q: A woman of 71 has gout.\nWhat now?\n"
            "Answer Choices: (A) aspirin (B) colchicine (C) surgery\n"
            "A: Let's think step by step.",
        ),
    ]
    assert talker.heard == [
        first,
        [
            *first,
            ("assistant", "Gout is treated with colchicine."),
            ("user", "Therefore, among A through C, the answer is"),
        ],
    ]
    assert talker.asked == [(1, 50, 0.7)] * 2
    assert talker.drawn == [[None], [None]], "greedy, as published"
    assert [(turn.agent, turn.round, turn.text) for turn in episode.turns] == [
        ("reporter", 0, "Gout is treated with colchicine."),
        ("reporter", 1, "B"),
    ]
    assert episode.answer == "B"
    assert episode.turns[1].prompt_ids == talker.encode_talk(talker.heard[1])
    assert episode.turns[1].policy_version == 2


def test_the_trigger_names_the_question_s_own_letters() -> None:
    ten = Question("q2", "Which?", {letter: f"drug {letter}" for letter in "ABCDEFGHIJ"}, "J")
    talker = Talker(thinks_and_says("hm", "J"))
    asked(talker, [CASE, ten])
    assert [talk[-1][1] for talk in talker.heard[2:]] == [
        "Therefore, among A through C, the answer is",
        "Therefore, among A through J, the answer is",
    ]


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("B", "B"),
        ("(B) colchicine. Unlike (A) it is safe.", "B"),
        ("B\n\nBecause of her age.", "B"),
        ("I think it is C", "C"),
        ("A 71-year-old needs colchicine.", "A"),
        ("unclear", None),
        ("", None),
    ],
)
def test_the_second_reply_is_read_as_published(reply: str, answer: str | None) -> None:
    """What was thought before is no answer, whatever it names."""
    (episode,) = asked(Talker(thinks_and_says("Answer: A", reply)), [CASE])
    row = record_of(episode)
    assert (row["answer"], row["valid"], row["official"]) == (answer, answer is not None, answer)


def test_evidence_and_context_stand_above_the_stem() -> None:
    case = Question(
        "q1",
        "Does it help?",
        {"A": "yes", "B": "no"},
        "A",
        context="She takes lithium.",
        evidence=(Snippet("e1", "Trial one."), Snippet("e2", "Trial two.")),
    )
    assert opening(case)[1][1] == (
        "Q: Trial one.\nTrial two.\nShe takes lithium.\nDoes it help?\nAnswer Choices: (A) yes (B) no\n"
        "A: Let's think step by step."
    )


def test_every_turn_has_draws_of_its_own() -> None:
    talker = Talker(thinks_and_says("hm", "A"))
    questions = [Question(name, "Which?", {"A": "x", "B": "y"}, "A") for name in ("q1", "q2")]
    episodes = asked(talker, questions, draws=Sampled(5))
    keyed = [
        [Sampled(5).generator(episode, round, "reporter").random() for episode in episodes]
        for round in (0, 1)
    ]
    assert talker.drawn == keyed
    assert len({draw for row in keyed for draw in row}) == 4


def test_a_talk_that_does_not_fit_is_named_and_never_cut() -> None:
    talker = Talker(thinks_and_says("t" * 40, "B"))
    asked(talker, [CASE])
    needed = len(talker.encode_talk(talker.heard[1])) + 50
    talker.context = needed
    assert asked(talker, [CASE])[0].answer == "B"
    talker.context = needed - 1
    with pytest.raises(
        DataError, match=r"(?s)'reporter'.*question q1.*Fix: .*eval\.zero_shot_max_new_tokens"
    ):
        asked(talker, [CASE])


def test_a_talk_that_may_not_fit_is_told_before_it_begins() -> None:
    """The opening, two turns of as many tokens as they may have, and what stands between them."""
    talker = Talker(thinks_and_says("hm", "B"))
    between = [("assistant", ""), ("user", "Therefore, among A through C, the answer is")]
    needed = len(talker.encode_talk([*opening(CASE), *between])) + 2 * 50
    player = ZeroShot("reporter", talker, max_new_tokens=50, temperature=1.0, stopping=lambda: False)
    talker.context = needed
    player.refuse_too_long([CASE])
    talker.context = needed - 1
    with pytest.raises(DataError, match=r"(?s)question q1.*Fix: .*eval\.zero_shot_max_new_tokens"):
        player.refuse_too_long([CASE])
    assert not talker.heard


def test_a_stop_is_heeded_between_the_turns() -> None:
    talker = Talker(thinks_and_says("hm", "B"))
    with pytest.raises(Interrupted):
        asked(talker, [CASE], stopping=lambda: bool(talker.heard))
    assert len(talker.heard) == 1


def test_a_speaker_that_knows_no_talks_is_refused() -> None:
    class Deaf(Speaker):
        version = 0

    with pytest.raises(ConfigError, match=r"(?s)'reporter'.*Fix: .*encode_talk"):
        ZeroShot("reporter", Deaf(), max_new_tokens=1, temperature=1.0, stopping=lambda: False)


@pytest.mark.parametrize(
    ("file", "spaced"),
    [("medxpertqa_text_sampled", 0), ("medqa_test_first600", 2), ("mmlu_medical_500", 0)],
)
def test_published_questions_are_asked_to_the_letter(shared_data, file: str, spaced: int) -> None:
    """The authors' files hold each question as their code asks it; in two of MedQA's a space is doubled."""
    differ = 0
    for line in (shared_data / f"{file}.jsonl").read_text().splitlines():
        row = json.loads(line)
        ours = opening(read_row(row)[0])[1][1]
        theirs = f"Q: {row['question'].strip()}\nA: Let's think step by step."
        assert ours.split() == theirs.split()
        differ += ours != theirs
    assert differ == spaced
