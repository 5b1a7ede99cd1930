"""One agent's update: accumulation, schedule, clipping, failures and its state."""

import io
import math
from dataclasses import replace

import pytest
import torch
from support import alone, tiny_policy, updated

from maporl_cli.agents.build import build_policies
from maporl_cli.agents.policy import NotFinite, Scored
from maporl_cli.core.config import Config, TrainConfig
from maporl_cli.core.errors import RunFailed
from maporl_cli.core.randomness import keyed_generator
from maporl_cli.core.timeline import Timeline
from maporl_cli.core.types import Turn
from maporl_cli.training.experience import Experience, Gathered
from maporl_cli.training.placement import place
from maporl_cli.training.ranks import OneRank
from maporl_cli.training.stop import StopRequest
from maporl_cli.training.update import Learner, update_all

PROMPTS = [(3, 4, 5), (6, 7), (8,), (9, 10, 11, 12), (13, 14), (3, 4, 5), (20,)]
ADVANTAGES = [0.5, -1.0, 0.25, 1.5, -0.75, 0.0, 0.3]


def learner(policy, *, steps=10, temperature=1.0, scale=False, ranks=None, **settings) -> Learner:
    config = TrainConfig.model_validate({"max_grad_norm": 1e9, "lr_scheduler_type": "constant", **settings})
    return Learner(
        "planner",
        policy,
        config,
        total_steps=steps,
        temperature=temperature,
        learning_rate=config.learning_rate,
        ranks=ranks or alone("planner"),
        scale_gradients=scale,
    )


def experiences(policy, *, temperature=1.0, key=0) -> list[Experience]:
    """Turns sampled from the policy, of different lengths."""
    streams = [keyed_generator("e", key, index) for index in range(len(PROMPTS))]
    samples = policy.sample(PROMPTS, streams, max_new_tokens=6, temperature=temperature)
    made = []
    for index, (prompt, sample, advantage) in enumerate(zip(PROMPTS, samples, ADVANTAGES, strict=True)):
        length = 1 + (index * 2) % len(sample.token_ids)
        turn = Turn("planner", 0, prompt, sample.token_ids[:length], sample.logprobs[:length], "", True, 0)
        made.append(Experience(turn, [advantage] * length))
    return made


def weights(policy):
    return {name: parameter.detach().clone() for name, parameter in policy.trainable().items()}


def equal(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def gradients(policy):
    return {name: parameter.grad.clone() for name, parameter in policy.trainable().items()}


@pytest.mark.parametrize("size", [1, 3, 128])
def test_divergence_is_the_gap_of_each_token_s_logprobs(size):
    policy = tiny_policy()
    policy.keep_reference()
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter += 0.02 * torch.randn_like(parameter)
    turns = [experience.turn for experience in experiences(policy, temperature=1.3)]
    told = learner(policy, temperature=1.3, per_device_train_batch_size=size).divergence(turns)
    for turn, value in zip(turns, told, strict=True):
        reference = policy.reference_logprobs([turn.prompt_ids], [turn.token_ids], temperature=1.3)
        assert value == pytest.approx((torch.tensor(turn.logprobs) - reference[0]).tolist(), abs=1e-5)
    assert max(abs(nats) for value in told for nats in value) > 1e-3


def test_paid_in_the_reward_it_is_not_in_the_loss():
    """The gradient is then that of the advantages alone, and no KL is reported."""
    told = {}
    for name, settings in (
        ("none", {}),
        ("reward", {"kl_coeff": 5.0, "kl_in": "reward"}),
        ("loss", {"kl_coeff": 5.0}),
    ):
        policy = tiny_policy()
        batch = experiences(policy)
        policy.keep_reference()
        with torch.no_grad():
            next(iter(policy.trainable().values())).mul_(1.1)
        metrics = updated(learner(policy, **settings), batch)
        told[name] = gradients(policy), "planner:kl" in metrics
    (bare, none_told), (paid, paid_told), (held, held_told) = told["none"], told["reward"], told["loss"]
    assert (none_told, paid_told, held_told) == (False, False, True)
    assert equal(bare, paid)
    assert not equal(bare, held)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_microbatches_add_up_to_one_large_batch(size):
    whole, parts = tiny_policy(), tiny_policy()
    batch = experiences(whole)
    one = updated(learner(whole, per_device_train_batch_size=128, entropy_coeff=0.01), batch)
    other = updated(learner(parts, per_device_train_batch_size=size, entropy_coeff=0.01), batch)
    assert other == pytest.approx(one, abs=1e-5)
    for name, gradient in gradients(whole).items():
        assert torch.allclose(gradients(parts)[name], gradient, atol=1e-6, rtol=1e-5), name


def test_the_gradient_is_the_policy_gradient_over_all_tokens():
    """Written again, a row at a time: −Σ A · log π / (tokens of the whole update)."""
    policy, twin = tiny_policy(), tiny_policy()
    batch = experiences(policy)
    updated(learner(policy, per_device_train_batch_size=2), batch)
    tokens = sum(len(experience.turn.token_ids) for experience in batch)
    for experience in batch:
        turn = experience.turn
        logprobs = twin.score([turn.prompt_ids], [turn.token_ids], temperature=1.0).logprobs
        (-experience.advantages[0] * logprobs.sum() / tokens).backward()
    for name, gradient in gradients(twin).items():
        assert torch.allclose(gradients(policy)[name], gradient, atol=1e-6, rtol=1e-4), name


def test_metrics_on_policy_at_the_sampling_temperature():
    policy = tiny_policy()
    batch = experiences(policy, temperature=1.7)
    metrics = updated(learner(policy, temperature=1.7), batch)
    lengths = [len(experience.turn.token_ids) for experience in batch]
    assert len(set(lengths)) > 2
    expected = -sum(a * n for a, n in zip(ADVANTAGES, lengths, strict=True)) / sum(lengths)
    assert metrics["planner:loss"] == pytest.approx(expected, abs=1e-4)
    assert metrics["planner:tokens"] == sum(lengths)
    assert metrics["planner:clipped"] == 0.0
    assert 0 < metrics["planner:entropy"] < math.log(48)
    assert metrics["planner:grad_norm"] > 0
    assert "planner:kl" not in metrics


def test_entropy_is_the_mean_over_tokens():
    policy = tiny_policy()
    batch = experiences(policy)
    scored = [
        policy.score([e.turn.prompt_ids], [e.turn.token_ids], temperature=1.0).entropy.sum().item()
        for e in batch
    ]
    metrics = updated(learner(policy, per_device_train_batch_size=2), batch)
    assert metrics["planner:entropy"] == pytest.approx(sum(scored) / metrics["planner:tokens"], rel=1e-4)


def test_clipped_is_the_share_of_tokens_far_from_where_they_were_sampled():
    policy = tiny_policy()
    near, *_, far = experiences(policy)
    moved = replace(far, turn=replace(far.turn, logprobs=tuple(x - 1.0 for x in far.turn.logprobs)))
    metrics = updated(learner(policy), [near, moved])
    tokens = [len(e.turn.token_ids) for e in (near, moved)]
    assert metrics["planner:clipped"] == pytest.approx(tokens[1] / sum(tokens))


@pytest.mark.parametrize(
    ("high", "clipped"), [(None, (True, True)), (0.5, (False, True)), (0.1, (True, True))]
)
def test_the_upper_end_of_the_clip_range_is_the_config_s_own(high, clipped):
    """Ratios e^.25 = 1.28 and e^−.25 = .78, beside a clip_ratio of .2."""
    for gap, expected in zip((0.25, -0.25), clipped, strict=True):
        policy = tiny_policy()
        first, *_ = experiences(policy)
        moved = replace(first.turn, logprobs=tuple(x - gap for x in first.turn.logprobs))
        good = replace(first, turn=moved, advantages=[math.copysign(1.0, gap)] * len(first.advantages))
        metrics = updated(learner(policy, clip_ratio=0.2, clip_ratio_high=high), [good])
        assert metrics["planner:clipped"] == float(expected)
        assert (metrics["planner:grad_norm"] == 0.0) == expected, "a clipped token no longer pushes"


def test_epochs_are_steps_on_the_same_experiences():
    """Two in one update are two updates with the same sampled log-probabilities; the schedule moves once."""
    twice, again = tiny_policy(), tiny_policy()
    batch = experiences(twice)
    mine = learner(twice, update_epochs=2, learning_rate=0.01)
    metrics = updated(mine, batch)
    other = learner(again, learning_rate=0.01)
    first, second = updated(other, batch), updated(other, batch)
    assert equal(weights(twice), weights(again))
    assert metrics == second
    assert first["planner:clipped"] == 0.0 < second["planner:clipped"]
    assert twice.version == 1
    assert mine.state()["schedule"]["last_epoch"] == 1


def test_the_kl_is_measured_against_the_start():
    policy = tiny_policy(keep_reference=True)
    mine = learner(policy, kl_coeff=0.1, learning_rate=0.01)
    assert updated(mine, experiences(policy))["planner:kl"] == pytest.approx(0.0, abs=1e-5)
    assert updated(mine, experiences(policy, key=1))["planner:kl"] > 1e-4


def test_an_update_moves_the_weights_and_counts():
    policy = tiny_policy()
    start = weights(policy)
    updated(learner(policy), experiences(policy))
    assert not equal(start, weights(policy))
    assert policy.version == 1


def test_without_experiences_the_weights_stay_and_the_schedule_moves_on():
    policy = tiny_policy()
    mine = learner(policy, steps=4, lr_scheduler_type="linear", learning_rate=0.1, weight_decay=0.5)
    updated(mine, experiences(policy))
    after, moments = weights(policy), mine.state()["optimizer"]["state"][0]["exp_avg"].clone()
    assert updated(mine, []) == {"planner:tokens": 0.0}
    assert equal(after, weights(policy))
    assert torch.equal(mine.state()["optimizer"]["state"][0]["exp_avg"], moments)
    assert policy.version == 1
    assert rate(mine) == pytest.approx(0.1 * 2 / 4)


def rate(mine):
    """The learning rate of the next update."""
    (value,) = mine.state()["schedule"]["_last_lr"]
    return value


@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        (
            {"lr_scheduler_type": "cosine"},
            [1, (1 + math.cos(math.pi / 4)) / 2, 0.5, (1 - math.cos(math.pi / 4)) / 2],
        ),
        (
            {"lr_scheduler_type": "cosine", "warmup_steps": 2, "steps": 6},
            [0, 0.5, 1, (1 + math.cos(math.pi / 4)) / 2, 0.5, (1 - math.cos(math.pi / 4)) / 2],
        ),
        ({"lr_scheduler_type": "linear"}, [1, 0.75, 0.5, 0.25]),
        ({"lr_scheduler_type": "linear", "warmup_steps": 2}, [0, 0.5, 1, 0.5]),
        ({"lr_scheduler_type": "constant", "warmup_steps": 1}, [0, 1, 1, 1]),
    ],
)
def test_learning_rates_by_hand(settings, rates):
    mine = learner(tiny_policy(), learning_rate=2.0, **{"steps": 4, **settings})
    found = []
    for _ in rates:
        found.append(rate(mine))
        updated(mine, [])
    assert found == pytest.approx([2.0 * expected for expected in rates])


def test_the_schedules_rate_is_the_one_applied():
    """Adam's first step moves a weight by the learning rate, whatever the size of its gradient."""
    policy = tiny_policy()
    start = weights(policy)
    updated(learner(policy, learning_rate=0.01, adam_beta1=0.5), experiences(policy))
    moved = torch.cat([(weights(policy)[name] - start[name]).abs().flatten() for name in start])
    assert moved.max().item() == pytest.approx(0.01, rel=1e-3)


def test_weight_decay():
    policy, plain = tiny_policy(), tiny_policy()
    start = weights(policy)
    for mine in (learner(policy, learning_rate=0.01, weight_decay=0.5), learner(plain, learning_rate=0.01)):
        updated(mine, experiences(mine.policy))
    name = "model.embed_tokens.weight"
    expected = weights(plain)[name] - 0.01 * 0.5 * start[name]
    assert torch.allclose(weights(policy)[name], expected, atol=1e-6)


def test_gradients_are_clipped_and_their_norm_is_reported_before():
    free, clipped = tiny_policy(), tiny_policy()
    batch = experiences(free)
    norm = updated(learner(free), batch)["planner:grad_norm"]
    whole = torch.cat([gradient.flatten() for gradient in gradients(free).values()])
    assert whole.norm().item() == pytest.approx(norm, rel=1e-4)
    metrics = updated(learner(clipped, max_grad_norm=norm / 10), batch)
    assert metrics["planner:grad_norm"] == pytest.approx(norm, rel=1e-4)
    left = torch.cat([gradient.flatten() for gradient in gradients(clipped).values()])
    assert torch.allclose(left, whole / 10, atol=norm * 1e-5)


def test_gradients_of_the_last_update_are_forgotten():
    policy, twin = tiny_policy(), tiny_policy()
    mine = learner(policy, learning_rate=1e-12)
    updated(mine, experiences(policy))
    updated(mine, experiences(policy, key=1))
    updated(learner(twin, learning_rate=1e-12), experiences(twin, key=1))
    for name, gradient in gradients(twin).items():
        assert torch.allclose(gradients(policy)[name], gradient, atol=1e-6), name


def test_damaged_weights_stop_before_anything_is_changed():
    policy = tiny_policy()
    batch = experiences(policy)
    mine = learner(policy)
    with torch.no_grad():
        policy.trainable()["model.norm.weight"][0] = float("nan")
    start = weights(policy)
    with pytest.raises(NotFinite, match="loss of the agent 'planner'"):
        updated(mine, batch)
    assert all(torch.equal(start[n], w) for n, w in weights(policy).items() if n != "model.norm.weight")
    assert policy.version == 0


def test_a_bad_advantage_in_the_last_microbatch_changes_nothing_either():
    policy = tiny_policy()
    start = weights(policy)
    *batch, last = experiences(policy)
    bad = replace(last, advantages=[float("inf")] * len(last.advantages))
    with pytest.raises(NotFinite, match="loss"):
        updated(learner(policy, per_device_train_batch_size=2), [*batch, bad])
    assert equal(start, weights(policy))


def test_agents_with_adapters_on_one_model_keep_their_gradients_apart(tmp_path):
    """Each agent's steps come after the passes of all: the model has another adapter by then."""
    tiny_policy().save(tmp_path)
    seats = {"agents": [{"name": "planner"}, {"name": "reporter"}]}
    lora = {"name": str(tmp_path), "finetune": "lora", "lora_r": 2, "lora_alpha": 4}
    settings = Config.model_validate({"team": seats, "model": lora})

    def learners() -> list[Learner]:
        policies = build_policies(settings, None, torch.device("cpu"), lambda _: None, settings.team.names)
        options = {"total_steps": 9, "temperature": 1.0, "learning_rate": 0.01}
        ranks = alone(*settings.team.names)
        return [Learner(name, policies[name], settings.train, ranks=ranks, **options) for name in policies]

    together, apart = learners(), learners()
    batch = experiences(tiny_policy())
    batches = {"planner": batch[:4], "reporter": batch[4:]}
    for _ in range(2):  # an adapter's first step moves only half of its weights
        metrics = update_all(
            together,
            Gathered(batches, 0, 0, kl={"planner": 0.25}),
            1,
            alone(*settings.team.names),
            Timeline(),
            StopRequest(),
        )
        expected = [updated(mine, batches[mine.agent]) for mine in apart]
        assert metrics == expected[0] | expected[1] | {"planner:kl": 0.25}
    for one, other in zip(together, apart, strict=True):
        assert equal(weights(one.policy), weights(other.policy))
        assert metrics[f"{one.agent}:grad_norm"] > 0


class RootPolicy:
    """log π = −√w − 0.1: finite at w = 0, where its slope is not."""

    version = 0

    def __init__(self, value: float) -> None:
        self.weight = torch.nn.Parameter(torch.tensor(value))

    def trainable(self):
        return {"weight": self.weight}

    def score(self, prompts, completions, *, temperature):
        logprobs = (-self.weight.sqrt() - 0.1).expand(len(prompts), max(map(len, completions)))
        return Scored(logprobs, torch.zeros_like(logprobs))


def one_token(advantage=1.0):
    return [Experience(Turn("planner", 0, (1,), (2,), (-0.1,), "", True, 0), [advantage])]


def test_an_infinite_gradient_stops_and_changes_nothing():
    policy = RootPolicy(0.0)
    with pytest.raises(NotFinite, match="gradient of the agent 'planner'"):
        updated(learner(policy, max_grad_norm=1.0), one_token())
    assert policy.weight.item() == 0.0


def test_scaled_gradients_give_the_same_update():
    plain, scaled = tiny_policy(), tiny_policy()
    batch = experiences(plain)
    one = updated(learner(plain, max_grad_norm=0.1), batch)
    other = updated(learner(scaled, max_grad_norm=0.1, scale=True), batch)
    assert other.pop("planner:loss_scale") == 2.0**16  # torch's first
    assert other == pytest.approx(one, rel=1e-5)
    for name, weight in weights(plain).items():
        assert torch.allclose(weights(scaled)[name], weight, atol=1e-6), name


def test_a_scaler_skips_an_infinite_gradient_and_halves_its_scale():
    policy = RootPolicy(0.0)
    mine = learner(policy, max_grad_norm=1.0, scale=True)
    updated(mine, one_token(0.5))
    before = mine.state()["scaler"]["scale"]
    updated(mine, one_token(0.5))
    assert policy.weight.item() == 0.0
    halved = mine.state()
    assert halved["scaler"]["scale"] == before / 2
    again = learner(policy, max_grad_norm=1.0, scale=True)
    again.load_state(halved)
    assert again.state()["scaler"] == halved["scaler"]


class TwoReplicas(OneRank):
    """This rank, and a second replica that has `theirs` wherever this one sums."""

    def __init__(self, theirs: list[list[float]]) -> None:
        super().__init__(replace(place(("planner",), 1), replicas=2))
        self._theirs = iter(theirs)

    def sum_over_replicas(self, agent: str, tensor: torch.Tensor) -> None:
        tensor += torch.tensor(next(self._theirs), dtype=tensor.dtype)


class TwoParameters(RootPolicy):
    """A policy with a parameter that it never uses."""

    def trainable(self):
        self.spare = getattr(self, "spare", torch.nn.Parameter(torch.tensor(1.0)))
        return {"weight": self.weight, "spare": self.spare}


def test_a_parameter_that_no_replica_used_does_not_decay():
    """This replica has nothing to learn from; of what the other used it gets the gradient."""
    policy = TwoParameters(1.0)
    # Tokens, who has a gradient, the gradient, metrics.
    theirs = TwoReplicas([[5.0], [1.0, 0.0], [0.25], [0.0] * 4])
    updated(learner(policy, ranks=theirs, max_grad_norm=1.0, weight_decay=0.5), [])
    assert policy.weight.grad is not None
    assert policy.weight.grad.item() == 0.25
    assert policy.weight.item() < 1.0
    assert policy.spare.item() == 1.0


@pytest.mark.parametrize("scale", [False, True])
def test_two_and_a_resume_and_two_equal_four_bit_for_bit(scale):
    def run(policy, mine, keys):
        metrics = []
        for key in keys:
            metrics.append(updated(mine, experiences(policy, key=key) if key != 2 else []))
        return metrics

    options = {"learning_rate": 0.01, "lr_scheduler_type": "cosine", "warmup_steps": 1, "weight_decay": 0.1}
    straight = tiny_policy()
    expected = run(straight, learner(straight, steps=6, scale=scale, **options), range(6))

    first = tiny_policy()
    mine = learner(first, steps=6, scale=scale, **options)
    run(first, mine, range(3))
    file = io.BytesIO()
    torch.save({"weights": weights(first), "state": mine.state()}, file)
    file.seek(0)
    stored = torch.load(file, weights_only=True)

    second = tiny_policy(seed=9)
    with torch.no_grad():
        for name, parameter in second.trainable().items():
            parameter.copy_(stored["weights"][name])
    again = learner(second, steps=6, scale=scale, **options)
    again.load_state(stored["state"])
    assert second.version == 2
    assert run(second, again, range(3, 6)) == expected[3:]
    assert equal(weights(straight), weights(second))
    assert second.version == straight.version == 5


def test_weights_that_an_update_ruined_are_told_at_once():
    """The gradient is finite, and so is every weight; no forward pass could use them."""
    policy = tiny_policy()
    with pytest.raises(NotFinite, match="updated weights"):
        updated(learner(policy, learning_rate=1e37), experiences(policy))


def test_too_little_memory_in_an_update_names_the_agent_and_what_to_lower():
    policy = tiny_policy()
    mine = learner(policy)
    given = experiences(policy)

    def fail(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    policy.score = fail
    with pytest.raises(RunFailed) as told:
        updated(mine, given)
    assert "'planner'" in told.value.what
    assert told.value.where == "the update"
    assert "train.per_device_train_batch_size" in told.value.fix


def test_a_replica_without_experiences_takes_part_also_in_its_first_fp16_update():
    policy = tiny_policy()
    parameters = list(policy.trainable().values())
    # Tokens, who has a gradient, the gradient, metrics.
    size = sum(parameter.numel() for parameter in parameters)
    theirs = TwoReplicas([[4.0], [1.0] * len(parameters), [0.0] * size, [0.0] * 4])
    mine = learner(policy, scale=True, ranks=theirs)
    assert updated(mine, [])["planner:tokens"] == 4.0
