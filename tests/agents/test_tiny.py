"""The built-in policies: a word a token, and weights that the seed alone decides."""

import torch

from maporl_cli.agents.causal import CausalPolicy
from maporl_cli.agents.tiny import END, PAD, UNKNOWN, tiny_model, tiny_tokenizer

WORDS = ["fever", "cough", "Answer:", "(A)", "fever", "60%"]


def policy(seed=0):
    tokenizer = tiny_tokenizer(WORDS)
    return CausalPolicy(tiny_model(tokenizer, seed), tokenizer, frozenset({1}))


def test_one_token_a_word_split_at_white_space_alone():
    tokenizer = tiny_tokenizer(WORDS)
    assert tokenizer.convert_ids_to_tokens(range(len(tokenizer))) == [
        PAD, END, UNKNOWN, "fever", "cough", "Answer:", "(A)", "60%",
    ]  # fmt: skip
    assert policy().encode("Answer: (A)  60%\nfever") == (5, 6, 7, 3)
    assert policy().encode("fever Fever fever.") == (3, 2, 2)


def test_the_prompt_is_the_users_text_and_nothing_else():
    assert policy().encode("fever cough") == (3, 4)


def test_a_turn_ends_in_its_end_and_reads_back():
    turn = policy().encode_turn("Answer: (A)")
    assert turn == (5, 6, 1)
    assert policy().decode(turn) == "Answer: (A)"
    assert policy().decode((1,)) == ""


def test_the_seed_alone_decides_the_weights():
    tokenizer = tiny_tokenizer(WORDS)
    torch.manual_seed(1)
    one = tiny_model(tokenizer, 3).state_dict()
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.rand(1) == after, "the global stream was consumed"
    two = tiny_model(tokenizer, 3).state_dict()
    other = tiny_model(tokenizer, 4).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


def test_small_fp32_and_stopped_by_the_end_token():
    model = tiny_model(tiny_tokenizer(WORDS), 0)
    assert sum(parameter.numel() for parameter in model.parameters()) < 150_000
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert (model.config.eos_token_id, model.config.pad_token_id) == (1, 0)
    assert policy().context_length == 512
