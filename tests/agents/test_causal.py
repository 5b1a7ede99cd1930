"""The policy against transformers' own generate and forward."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from jinja2 import TemplateError
from peft import LoraConfig, PeftModel, get_peft_model
from support import WORDS, equals_finite_differences, tiny_policy
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from maporl_cli.agents.causal import CausalPolicy
from maporl_cli.agents.sampling import choose
from maporl_cli.agents.tiny import tiny_model, tiny_tokenizer
from maporl_cli.core.randomness import keyed_generator


def prompts(count: int, seed: int = 0) -> list[tuple[int, ...]]:
    numbers = np.random.default_rng(seed)
    return [tuple(int(n) for n in numbers.integers(3, 40, numbers.integers(2, 14))) for _ in range(count)]


def streams(count: int, key: str = "s"):
    return [keyed_generator(key, index) for index in range(count)]


TALK = [("system", "w1"), ("user", "w2 w3"), ("assistant", "w4"), ("user", "w5")]
TEMPLATE = """{% for message in messages %}[{{ message.role }}] {{ message.content }} {% endfor %}w9"""
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + TEMPLATE


@pytest.mark.parametrize(("template", "told"), [(TEMPLATE, TALK), (NO_SYSTEM, TALK[1:])])
def test_a_talk_is_told_in_the_model_s_own_template(template, told):
    policy = tiny_policy()
    policy.tokenizer.chat_template = template
    text = "".join(f"[{role}] {content} " for role, content in told) + "w9"
    assert list(policy.encode_talk(TALK)) == policy.tokenizer.encode(text, add_special_tokens=False)
    assert policy.encode("w2") == policy.encode_talk([("user", "w2")])


def test_a_template_that_refuses_a_talk_without_a_system_message_is_an_error():
    policy = tiny_policy()
    policy.tokenizer.chat_template = "{{ raise_exception('never') }}"
    for talk in (TALK, TALK[1:]):
        with pytest.raises(TemplateError, match="never"):
            policy.encode_talk(talk)


@pytest.mark.parametrize("row", range(6))
def test_greedy_equals_transformers_generate(row):
    """Batched over prompts of different lengths, against one prompt at a time in transformers."""
    policy = tiny_policy(seed=row)
    batch = prompts(6)
    ours = policy.sample(batch, [None] * 6, max_new_tokens=12, temperature=1.0)[row]
    theirs = policy._model.generate(
        torch.tensor([batch[row]]), max_new_tokens=12, do_sample=False, pad_token_id=0, eos_token_id=1
    )[0, len(batch[row]) :]
    assert list(ours.token_ids) == theirs.tolist()


def test_sampled_logprobs_equal_a_fresh_forward_at_the_same_temperature():
    policy = tiny_policy()
    batch = prompts(16)
    samples = policy.sample(batch, streams(16), max_new_tokens=10, temperature=0.7)
    assert len({sample.token_ids for sample in samples}) > 8
    for prompt, sample in zip(batch, samples, strict=True):
        logits = policy._model(torch.tensor([[*prompt, *sample.token_ids]])).logits[0].float() / 0.7
        fresh = logits.log_softmax(-1)[len(prompt) - 1 : -1]
        expected = [fresh[place, token].item() for place, token in enumerate(sample.token_ids)]
        assert sample.logprobs == pytest.approx(expected, abs=2e-5)


def test_score_equals_what_was_recorded_while_sampling_for_ragged_rows():
    policy = tiny_policy()
    batch = prompts(12)
    samples = policy.sample(batch, streams(12), max_new_tokens=9, temperature=1.3)
    ragged = [sample.token_ids[: 1 + row % 9] for row, sample in enumerate(samples)]
    scored = policy.score(batch, ragged, temperature=1.3)
    for row, (sample, cut) in enumerate(zip(samples, ragged, strict=True)):
        expected = sample.logprobs[: len(cut)]
        assert scored.logprobs[row, : len(cut)].tolist() == pytest.approx(expected, abs=2e-5)


def test_entropy_is_that_of_the_whole_distribution():
    policy = tiny_policy()
    prompt, completion = (3, 9, 4), (7, 8)
    entropy = policy.score([prompt], [completion], temperature=0.5).entropy[0]
    logits = policy._model(torch.tensor([[*prompt, *completion]])).logits[0, 2:4].float() / 0.5
    expected = torch.distributions.Categorical(logits=logits).entropy()
    assert torch.allclose(entropy, expected, atol=1e-5)


def test_entropy_is_taken_in_fp32_where_products_are_not():
    """Of the chances that the same policy gives to every word, each of them asked for alone."""
    policy = tiny_policy(compute=torch.bfloat16)
    words = len(policy.tokenizer)
    scored = policy.score([(3, 9, 4)] * words, [(word,) for word in range(words)], temperature=0.5)
    chances = scored.logprobs[:, 0].exp()
    assert chances.sum().item() == pytest.approx(1, abs=1e-5)
    expected = -(chances * scored.logprobs[:, 0]).sum()
    assert torch.allclose(scored.entropy[:, 0], expected.expand(words), atol=1e-5)


def test_a_row_draws_the_same_tokens_in_any_batch_and_order():
    policy = tiny_policy()
    batch = prompts(10)
    together = policy.sample(batch, streams(10), max_new_tokens=8, temperature=1.0)
    reversed_ = policy.sample(batch[::-1], streams(10)[::-1], max_new_tokens=8, temperature=1.0)[::-1]
    alone = [
        policy.sample([prompt], [stream], max_new_tokens=8, temperature=1.0)[0]
        for prompt, stream in zip(batch, streams(10), strict=True)
    ]
    ids = [sample.token_ids for sample in together]
    assert ids == [sample.token_ids for sample in reversed_] == [sample.token_ids for sample in alone]


def test_identical_prompts_share_a_prefix_and_still_differ():
    policy = tiny_policy()
    samples = policy.sample([(5, 6, 7)] * 8 + [(9,)], streams(9), max_new_tokens=8, temperature=1.0)
    alone = policy.sample([(5, 6, 7)], [streams(9)[3]], max_new_tokens=8, temperature=1.0)[0]
    assert samples[3].token_ids == alone.token_ids
    assert len({sample.token_ids for sample in samples}) > 4


def test_choose_draws_from_the_softmax():
    logprobs = torch.tensor([0.5, 0.2, 0.0, 0.3]).log().expand(20_000, 4)
    uniforms = torch.tensor(keyed_generator("u").random(20_000))
    counts = torch.bincount(choose(logprobs, uniforms), minlength=4) / 20_000
    assert counts[2] == 0
    assert torch.allclose(counts, torch.tensor([0.5, 0.2, 0.0, 0.3]), atol=0.015)


def test_choose_finds_a_rare_word_at_the_end_of_a_large_vocabulary():
    """The last two of 150,000 words have two in a hundred million each; an fp32 sum is 1 before either."""
    logprobs = torch.full((1, 150_000), (1 - 4e-8) / 149_998).log()
    logprobs[0, -2:] = np.log(2e-8)
    for share, word in ((1 - 3e-8, 149_998), (1 - 1e-8, 149_999)):
        assert choose(logprobs, torch.tensor([share], dtype=torch.float64)).item() == word


def test_choose_at_the_edges():
    logprobs = torch.tensor([[0.0, 0.5, 0.5, 0.0]]).log()
    assert choose(logprobs, torch.tensor([0.0])).item() == 1
    assert choose(logprobs, torch.tensor([np.nextafter(1.0, 0.0)])).item() == 2
    assert choose(torch.tensor([[0.1, 0.7, 0.2]]).log(), torch.tensor([float("nan")])).item() == 1


def test_every_eos_id_ends_a_turn_and_belongs_to_it():
    policy = tiny_policy()
    free = policy.sample([(5, 6)], streams(1), max_new_tokens=8, temperature=1.0)[0]
    stop = free.token_ids[2]
    policy._eos_ids = frozenset({1, stop})
    cut = policy.sample([(5, 6)], streams(1), max_new_tokens=8, temperature=1.0)[0]
    first = free.token_ids.index(stop)
    assert cut.token_ids == free.token_ids[: first + 1]
    assert cut.finished
    assert not policy.sample([(5, 6)], streams(1), max_new_tokens=first, temperature=1.0)[0].finished


def test_pad_equal_to_eos_changes_nothing():
    policy, same = tiny_policy(), tiny_policy()
    same.tokenizer.pad_token = same.tokenizer.eos_token
    batch = [(1, 5, 1), (6, 1), (7, 8, 9, 1, 4)]
    completions = [(5, 1), (1, 1, 6, 1), (4,)]
    for ours, theirs in zip(
        policy.score(batch, completions, temperature=1.0).logprobs,
        same.score(batch, completions, temperature=1.0).logprobs,
        strict=True,
    ):
        assert torch.equal(ours[:1], theirs[:1])
    drawn = [p.sample(batch, streams(3), max_new_tokens=6, temperature=1.0) for p in (policy, same)]
    assert drawn[0] == drawn[1]


def test_gradient_equals_finite_differences_in_float64():
    # GPT-2, since Llama's norms compute in fp32 whatever the weights are
    shape = GPT2Config(
        vocab_size=16, n_embd=8, n_layer=2, n_head=2, n_positions=32, bos_token_id=1, eos_token_id=1
    )
    torch.manual_seed(0)
    policy = CausalPolicy(GPT2LMHeadModel(shape).double(), tiny_tokenizer(WORDS), frozenset({1}))
    batch, completions = [(3, 4, 5, 6), (7,)], [(8, 9, 1), (10, 11)]
    advantages = torch.tensor([[0.7], [-0.4]], dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]], dtype=torch.float64)

    def loss() -> torch.Tensor:
        return -(policy.score(batch, completions, temperature=0.9).logprobs * advantages * mask).sum()

    equals_finite_differences(loss, policy.trainable().items())


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_hidden_state_is_what_its_token_was_predicted_from(lora, checkpointing):
    """The words' own matrix makes the token's log-probability of it, in rows of different lengths."""
    policy = lora_pair()[0] if lora else tiny_policy(gradient_checkpointing=checkpointing)
    policy._checkpointing = checkpointing
    completions = [(6, 7, 8), (9,), (10, 11)]
    scored = policy.score([(3, 4, 5), (6,), (7, 8)], completions, temperature=0.7, hidden=True)
    assert scored.hidden is not None
    assert scored.hidden.shape == (3, 3, policy.hidden_width)
    words = policy._model.get_output_embeddings().weight
    for row, completion in enumerate(completions):
        logprobs = (scored.hidden[row, : len(completion)] @ words.T / 0.7).log_softmax(-1)
        expected = logprobs[range(len(completion)), list(completion)]
        assert torch.allclose(scored.logprobs[row, : len(completion)], expected, atol=1e-5)


def test_asking_for_hidden_states_changes_no_score_and_is_not_the_rule():
    policy = tiny_policy()
    given = [(3, 4, 5), (6,)], [(7, 8), (9,)]
    plain, asked = (policy.score(*given, temperature=1.0, hidden=hidden) for hidden in (False, True))
    assert plain.hidden is None
    assert torch.equal(plain.logprobs, asked.logprobs)
    assert torch.equal(plain.entropy, asked.entropy)


def test_gradient_checkpointing_changes_no_gradient():
    plain, checkpointed = tiny_policy(), tiny_policy(gradient_checkpointing=True)
    for policy in (plain, checkpointed):
        policy.score([(3, 4, 5)] * 2, [(6, 7), (8,)], temperature=1.0).logprobs.sum().backward()
    for (name, a), (_, b) in zip(plain.trainable().items(), checkpointed.trainable().items(), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        assert torch.allclose(a.grad, b.grad, atol=1e-6), name
    assert checkpointed.sample([(3,)], streams(1), max_new_tokens=4, temperature=1.0)


def lora_pair() -> tuple[CausalPolicy, CausalPolicy, PeftModel]:
    tokenizer = tiny_tokenizer(WORDS)
    lora = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    torch.manual_seed(0)
    shared = get_peft_model(tiny_model(tokenizer, 0), lora, adapter_name="planner")
    shared.add_adapter("analyst", lora)
    stops = frozenset({1})
    return *(CausalPolicy(shared, tokenizer, stops, adapter=name) for name in ("planner", "analyst")), shared


def test_adapters_learn_apart_and_the_frozen_base_does_not():
    planner, analyst, shared = lora_pair()
    before = {name: tensor.clone() for name, tensor in shared.state_dict().items()}
    optimizer = torch.optim.Adam(planner.trainable().values(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        planner.score([(3, 4)], [(5, 6)], temperature=1.0).logprobs.sum().neg().backward()
        optimizer.step()
    after = shared.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(".planner." in name for name in changed)
    assert set(planner.trainable()) == set(analyst.trainable())
    reference = planner.reference_logprobs([(3, 4)], [(5, 6)], temperature=1.0)
    assert torch.allclose(reference, analyst.score([(3, 4)], [(5, 6)], temperature=1.0).logprobs)
    assert not torch.allclose(reference, planner.score([(3, 4)], [(5, 6)], temperature=1.0).logprobs)


def test_saved_policies_load_with_plain_transformers_and_peft(tmp_path):
    policy = tiny_policy()
    policy.save(tmp_path / "full")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "full")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "full")
    ids = torch.tensor([[3, 4, 5]])
    assert torch.equal(loaded(ids).logits, policy._model(ids).logits)
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "w1 w2"}], return_dict=False)
    assert tuple(chat) == policy.encode("w1 w2")

    planner, _, _ = lora_pair()
    with torch.no_grad():
        for parameter in planner.trainable().values():
            parameter.add_(0.05)
    planner.save(tmp_path / "lora")
    again = PeftModel.from_pretrained(tiny_model(tiny_tokenizer(WORDS), 0), tmp_path / "lora")
    expected = planner.score([(3, 4)], [(5, 6)], temperature=1.0).logprobs
    logits = again(torch.tensor([[3, 4, 5, 6]])).logits[0, 1:3].log_softmax(-1)
    assert expected[0].tolist() == pytest.approx([logits[0, 5].item(), logits[1, 6].item()], abs=1e-5)


def test_reference_stays_at_the_start():
    policy = tiny_policy(keep_reference=True)
    start = policy.score([(3, 4)], [(5, 6)], temperature=1.0).logprobs.detach()
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter.mul_(1.5)
    assert torch.equal(policy.reference_logprobs([(3, 4)], [(5, 6)], temperature=1.0), start)
    assert not torch.allclose(policy.score([(3, 4)], [(5, 6)], temperature=1.0).logprobs, start)


def test_without_a_reference_there_is_nothing_to_measure_from():
    with pytest.raises(RuntimeError, match="kept no reference"):
        tiny_policy().reference_logprobs([(3,)], [(4,)], temperature=1.0)


def test_the_reference_of_an_adapter_is_the_base():
    planner, _, _ = lora_pair()
    planner.keep_reference()
    start = planner.score([(3, 4)], [(5, 6)], temperature=1.0).logprobs.detach()
    with torch.no_grad():
        for parameter in planner.trainable().values():
            parameter.add_(0.05)
    assert torch.allclose(planner.reference_logprobs([(3, 4)], [(5, 6)], temperature=1.0), start)
    assert not torch.allclose(planner.score([(3, 4)], [(5, 6)], temperature=1.0).logprobs, start)


@pytest.mark.parametrize("name", ["model", "mlp", "lora_A", "weight"])
def test_an_adapter_may_be_called_what_a_part_of_the_base_is(name):
    base = tiny_model(tiny_tokenizer(WORDS), 0)
    lora = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    shared = get_peft_model(base, lora, adapter_name=name)
    policy = CausalPolicy(shared, tiny_tokenizer(WORDS), frozenset({1}), adapter=name)
    learning = policy.trainable()
    assert sum(p.numel() for p in learning.values()) == shared.get_nb_trainable_parameters()[0]
    assert all(".lora_" in parameter for parameter in learning)
