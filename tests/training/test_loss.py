"""The policy loss against hand-worked numbers, and its gradient against finite differences."""

import math

import pytest
import torch

from maporl_cli.training.loss import policy_loss

LN = math.log


def _loss(new, old, advantages, active, total, **options):
    """Advantages are one a row here, or one a token."""
    options = {"clip": (0.2, 0.2), "entropy": torch.zeros_like(new), "entropy_coeff": 0.0, **options}
    each = advantages if advantages.dim() == 2 else advantages.unsqueeze(1).expand_as(new)
    return policy_loss(new, old, each, active, total, **options)


def test_hand_worked_table():
    # ratios:  row 0: 1.5, 0.5    advantage +2:  min(3, 2.4) = 2.4;   min(1, 1.6) = 1
    #          row 1: 1.5, masked advantage −1:  min(−1.5, −1.2) = −1.5
    old = torch.zeros(2, 2, dtype=torch.float64)
    new = torch.tensor([[LN(1.5), LN(0.5)], [LN(1.5), 7.0]], dtype=torch.float64)
    active = torch.tensor([[True, True], [True, False]])
    terms = _loss(new, old, torch.tensor([2.0, -1.0], dtype=torch.float64), active, 3)
    assert terms.loss.item() == pytest.approx(-(2.4 + 1 - 1.5) / 3)
    assert terms.clipped.item() == 3


def test_each_token_has_an_advantage_of_its_own():
    # ratios 1.5, .5, 1; advantages 2, −1, 3: min(3, 2.4) = 2.4; min(−.5, −.8) = −.8; 3
    new = torch.tensor([[LN(1.5), LN(0.5), 0.0]], dtype=torch.float64)
    advantages = torch.tensor([[2.0, -1.0, 3.0]], dtype=torch.float64)
    terms = _loss(new, torch.zeros_like(new), advantages, torch.ones(1, 3, dtype=torch.bool), 3)
    assert terms.loss.item() == pytest.approx(-(2.4 - 0.8 + 3) / 3)


def test_the_clip_may_reach_further_up_than_down():
    # ratios 1.5 and .5 with A = 1: min(1.5, 1.4) and min(.5, .8); with A = −1: min(−1.5, −1.4), min(−.5, −.8)
    new = torch.tensor([[LN(1.5), LN(0.5)]] * 2, dtype=torch.float64, requires_grad=True)
    everywhere = torch.ones(2, 2, dtype=torch.bool)
    advantages = torch.tensor([1.0, -1.0], dtype=torch.float64)
    terms = _loss(new, torch.zeros_like(new), advantages, everywhere, 4, clip=(0.2, 0.4))
    assert terms.loss.item() == pytest.approx(-(1.4 + 0.5 - 1.5 - 0.8) / 4)
    terms.loss.backward()
    assert new.grad is not None
    # Clipped are the first token of the good row and the second of the bad one: they no longer push.
    assert torch.allclose(new.grad, torch.tensor([[0.0, -0.5], [1.5, 0.0]], dtype=torch.float64) / 4)


def test_normalised_by_the_global_count_not_by_rows_or_by_this_microbatch():
    new = torch.zeros(1, 2, dtype=torch.float64)
    active = torch.tensor([[True, True]])
    one = _loss(new, new, torch.tensor([1.0]), active, 2).loss.item()
    ten = _loss(new, new, torch.tensor([1.0]), active, 20).loss.item()
    assert (one, ten) == (pytest.approx(-1.0), pytest.approx(-0.1))


def test_a_masked_token_counts_nowhere_whatever_it_holds():
    old = torch.zeros(1, 3, dtype=torch.float64)
    for junk in (float("inf"), float("nan"), -1e9, 900.0):
        new = torch.tensor([[0.1, -0.1, junk]], dtype=torch.float64, requires_grad=True)
        active = torch.tensor([[True, True, False]])
        entropy = torch.tensor([[0.5, 0.5, junk]], dtype=torch.float64)
        terms = _loss(
            new,
            old,
            torch.tensor([1.0]),
            active,
            2,
            entropy=entropy,
            entropy_coeff=0.1,
            reference=old,
            kl_coeff=0.1,
        )
        terms.loss.backward()
        assert torch.isfinite(terms.loss)
        assert terms.entropy.item() == pytest.approx(1.0)
        assert new.grad is not None
        assert new.grad[0, 2].item() == 0.0


def test_kl_term_by_hand():
    # d = reference − new = ln 2; k3 = 2 − ln 2 − 1; the ratio is 1
    new = torch.zeros(1, 1, dtype=torch.float64)
    reference = torch.full((1, 1), LN(2.0), dtype=torch.float64)
    terms = _loss(
        new, new, torch.zeros(1), torch.ones(1, 1, dtype=torch.bool), 1, reference=reference, kl_coeff=0.5
    )
    assert terms.kl.item() == pytest.approx(1 - LN(2.0))
    assert terms.loss.item() == pytest.approx(0.5 * (1 - LN(2.0)))


def test_gradient_of_the_kl_term_is_the_gradient_of_the_kl():
    """In expectation over the policy itself, summed exactly over a three-token vocabulary."""
    logits = torch.tensor([0.3, -0.2, 0.9], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([0.1, 0.4, -0.3], dtype=torch.float64).log_softmax(0)
    logp = logits.log_softmax(0)
    (exact,) = torch.autograd.grad((logp.exp() * (logp - reference)).sum(), logits)
    estimate = torch.zeros(3, dtype=torch.float64)
    for token in range(3):
        now = logits.log_softmax(0)[token].view(1, 1)
        terms = _loss(
            now,
            now.detach(),
            torch.zeros(1),
            torch.ones(1, 1, dtype=torch.bool),
            1,
            reference=reference[token].view(1, 1),
            kl_coeff=1.0,
        )
        (gradient,) = torch.autograd.grad(terms.loss, logits)
        estimate += logp[token].exp().detach() * gradient
    assert torch.allclose(estimate, exact, atol=1e-12)


def test_gradient_equals_finite_differences():
    torch.manual_seed(0)
    new = (torch.randn(3, 4, dtype=torch.float64) * 0.3).requires_grad_(True)
    old, reference = torch.randn(2, 3, 4, dtype=torch.float64) * 0.3
    advantages = torch.tensor([1.3, -0.7, 0.4], dtype=torch.float64)
    active = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]], dtype=torch.bool)

    def loss(values):
        return _loss(
            values,
            old,
            advantages,
            active,
            9,
            entropy=-values.exp() * values,
            entropy_coeff=0.05,
            reference=reference,
            kl_coeff=0.1,
        ).loss

    assert torch.autograd.gradcheck(loss, (new,), eps=1e-6, atol=1e-6, rtol=1e-6)


def test_on_policy_gradient_is_the_policy_gradient():
    """At ratio 1 the gradient is −A · ∇ log π / N: the clip changes nothing."""
    new = torch.tensor([[-0.5, -1.0], [-0.2, -2.0]], dtype=torch.float64, requires_grad=True)
    active = torch.ones(2, 2, dtype=torch.bool)
    _loss(new, new.detach(), torch.tensor([1.5, -0.5], dtype=torch.float64), active, 4).loss.backward()
    assert new.grad is not None
    assert torch.allclose(new.grad, torch.tensor([[-1.5, -1.5], [0.5, 0.5]], dtype=torch.float64) / 4)


def test_entropy_is_rewarded_and_masked_tokens_are_in_no_sum():
    """Two active tokens of entropy .5 and .25 lower the loss by .1 · .75 / 2; the third counts nowhere."""
    new = torch.tensor([[0.0, LN(1.5), LN(9.0)]], dtype=torch.float64)
    active = torch.tensor([[True, True, False]])
    entropy = torch.tensor([[0.5, 0.25, 9.0]], dtype=torch.float64)
    settings = {"entropy": entropy, "reference": torch.zeros_like(new)}
    nothing = torch.zeros(1, dtype=torch.float64)
    terms = _loss(new, torch.zeros_like(new), nothing, active, 2, entropy_coeff=0.1, **settings)
    assert terms.loss.item() == pytest.approx(-0.1 * 0.75 / 2), "no KL where none is asked for"
    assert terms.kl.item() == pytest.approx(1.5 * (1 / 1.5 + LN(1.5) - 1))
    assert terms.clipped.item() == 1
