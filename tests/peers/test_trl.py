"""Our loss against TRL's GRPO loss: its own trainer, on the same tokens and advantages.

`make test-peers` runs these in an environment that has TRL; elsewhere they are skipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

trl = pytest.importorskip("trl", reason="needs TRL: make test-peers")

import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from tokenizers import Tokenizer, models  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast  # noqa: E402

from maporl_cli.training.loss import policy_loss  # noqa: E402

WORDS = 24
TEMPERATURE = 0.8
PROMPTS = [(3, 4, 5), (6, 7), (8,), (9, 10, 11, 12), (3, 4, 5)]
COMPLETIONS = [(13, 14, 1), (15, 1), (16, 17, 18, 19, 1), (1,), (20, 21, 22, 23)]
ADVANTAGES = torch.tensor([0.7, -1.2, 0.4, 1.5, -0.6])
TOKENS = sum(map(len, COMPLETIONS))


def padded(rows, *, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and the mask of those that are no padding."""
    width = max(map(len, rows))
    gaps = [(0,) * (width - len(row)) for row in rows]
    order = [(gap, row) if left else (row, gap) for gap, row in zip(gaps, rows, strict=True)]
    ids = torch.tensor([[*first, *second] for first, second in order])
    ones = [((0,) * len(gap), (1,) * len(row)) for gap, row in zip(gaps, rows, strict=True)]
    mask = torch.tensor([[*gap, *row] if left else [*row, *gap] for gap, row in ones])
    return ids, mask


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """A random model of two layers, on disk: TRL reads its reference policy from there."""
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=WORDS,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
        initializer_range=0.5,
    )
    path = tmp_path_factory.mktemp("model")
    LlamaForCausalLM(shape).save_pretrained(path)
    return path


@dataclass
class Case:
    """One policy, what it said, and how likely that was when it was said and at the start."""

    trainer: trl.GRPOTrainer
    inputs: dict[str, torch.Tensor]

    @property
    def model(self):
        return self.trainer.model

    def rows(self, part: slice) -> dict[str, torch.Tensor]:
        return {name: value if value.dim() == 0 else value[part] for name, value in self.inputs.items()}


@pytest.fixture
def case(saved, tmp_path):
    def make(**settings) -> Case:
        vocabulary = {f"w{n}": n for n in range(WORDS)}
        words = PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer(models.WordLevel(vocabulary, unk_token="w2")),
            pad_token="w0",
            eos_token="w1",
            padding_side="left",
        )
        config = trl.GRPOConfig(
            output_dir=str(tmp_path),
            per_device_train_batch_size=2,
            num_generations=2,
            temperature=TEMPERATURE,
            max_completion_length=8,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            report_to=[],
            model_init_kwargs={"dtype": "float32"},
            **settings,
        )
        trainer = trl.GRPOTrainer(
            model=str(saved),
            reward_funcs=lambda completions, **_: [0.0] * len(completions),
            args=config,
            train_dataset=Dataset.from_dict({"prompt": ["w3"] * 4}),
            processing_class=words,
        )
        prompts, prompt_mask = padded(PROMPTS, left=True)
        completions, mask = padded(COMPLETIONS, left=False)
        draw = torch.Generator().manual_seed(1)
        with torch.no_grad():
            now, _ = scored(trainer.model, prompts, prompt_mask, completions, mask)
        inputs = {
            "prompt_ids": prompts,
            "prompt_mask": prompt_mask,
            "completion_ids": completions,
            "completion_mask": mask,
            "advantages": ADVANTAGES,
            # So far from now that ratios leave the clip range on both sides, for either sign.
            "old_per_token_logps": now + 0.4 * torch.randn(now.shape, generator=draw),
            "ref_per_token_logps": now + 0.4 * torch.randn(now.shape, generator=draw),
            "num_items_in_batch": torch.tensor(float(TOKENS)),
        }
        return Case(trainer, inputs)

    return make


def scored(model, prompts, prompt_mask, completions, mask) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities and entropies of the completions, written out anew."""
    ids, attention = torch.cat([prompts, completions], 1), torch.cat([prompt_mask, mask], 1)
    logits = model(input_ids=ids, attention_mask=attention).logits[:, prompts.shape[1] - 1 : -1]
    logprobs = (logits / TEMPERATURE).log_softmax(-1)
    chosen = logprobs.gather(-1, completions.unsqueeze(-1)).squeeze(-1)
    return chosen, -(logprobs.exp() * logprobs).sum(-1)


def ours(case: Case, part: slice = slice(None), **settings):
    rows = case.rows(part)
    mask = rows["completion_mask"]
    new, entropy = scored(case.model, rows["prompt_ids"], rows["prompt_mask"], rows["completion_ids"], mask)
    options = {"clip": (0.2, 0.2), "entropy_coeff": 0.0} | settings
    if "kl_coeff" in settings:
        options["reference"] = rows["ref_per_token_logps"]
    old = rows["old_per_token_logps"]
    advantages = rows["advantages"].unsqueeze(1).expand_as(new)
    return policy_loss(new, old, advantages, mask.bool(), TOKENS, entropy=entropy, **options)


def theirs(case: Case, part: slice = slice(None)) -> torch.Tensor:
    return case.trainer.compute_loss(case.model, case.rows(part))


def gradient(case: Case, loss: torch.Tensor) -> torch.Tensor:
    case.model.zero_grad()
    loss.backward()
    return torch.cat([parameter.grad.flatten() for parameter in case.model.parameters()])


CLIPS = pytest.mark.parametrize("clip", [(0.2, 0.2), (0.2, 0.28), (0.1, 0.5)])
KLS = pytest.mark.parametrize("beta", [0.0, 0.05, 1.0])


@CLIPS
@KLS
@pytest.mark.parametrize("loss_type", ["dapo", "bnpo"])
def test_loss_and_gradient_over_all_tokens(case, clip, beta, loss_type):
    """DAPO divides by the tokens of the whole batch, as we do; bnpo by those of the pass, here the same."""
    low, high = clip
    kl = {"beta": beta, "use_bias_correction_kl": True}
    made = case(loss_type=loss_type, epsilon=low, epsilon_high=high, **kl)
    terms = ours(made, clip=clip, **({"kl_coeff": beta} if beta else {}))
    assert 0 < terms.clipped < TOKENS
    expected = theirs(made)
    assert terms.loss.item() == pytest.approx(expected.item(), abs=1e-5)
    found = gradient(made, ours(made, clip=clip, **({"kl_coeff": beta} if beta else {})).loss)
    assert found.abs().max() > 1e-2
    assert torch.allclose(found, gradient(made, expected), atol=1e-5, rtol=1e-5)


def test_with_an_entropy_bonus(case):
    made = case(loss_type="dapo", beta=0.0, entropy_coef=0.1)
    plain = case(loss_type="dapo", beta=0.0)
    found, expected = ours(made, entropy_coeff=0.1).loss, theirs(made)
    assert found.item() == pytest.approx(expected.item(), abs=1e-5)
    assert abs(expected.item() - theirs(plain).item()) > 1e-2
    assert torch.allclose(gradient(made, found), gradient(made, theirs(made)), atol=1e-5, rtol=1e-5)


def test_microbatches_add_up_alike(case):
    """Each divides by the tokens of all, so parts of any size sum to the whole, in TRL as here."""
    made = case(loss_type="dapo", beta=0.05, use_bias_correction_kl=True)
    whole = theirs(made).item()
    for cut in (1, 2, 4):
        parts = (slice(0, cut), slice(cut, None))
        assert sum(ours(made, part, kl_coeff=0.05).loss.item() for part in parts) == pytest.approx(
            whole, abs=1e-5
        )
        assert sum(theirs(made, part).item() for part in parts) == pytest.approx(whole, abs=1e-5)


def test_the_mean_kl_is_reported_alike(case):
    made = case(loss_type="dapo", beta=0.05, use_bias_correction_kl=True)
    theirs(made)
    (told,) = made.trainer._metrics["eval"]["kl"]
    assert ours(made, kl_coeff=0.05).kl.item() / TOKENS == pytest.approx(told, abs=1e-5)


def test_what_differs(case):
    """GRPO's own mean over sequences, and a KL that is not weighted by the ratio, are other losses."""
    reference = ours(case(loss_type="dapo", beta=0.05), kl_coeff=0.05).loss.item()
    per_sequence = theirs(case(loss_type="grpo", beta=0.05, use_bias_correction_kl=True)).item()
    unweighted = theirs(case(loss_type="dapo", beta=0.05, use_bias_correction_kl=False)).item()
    assert min(abs(per_sequence - reference), abs(unweighted - reference)) > 1e-4
