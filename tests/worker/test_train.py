"""`worker.train` from a config to a run's directory, on the smallest clinic there can be."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small_runs import go, killed_after_step_2, small
from support import tiny_policy
from transformers import AutoModelForCausalLM, AutoTokenizer

from maporl_cli.agents.causal import CausalPolicy
from maporl_cli.agents.policy import OutOfMemory, register_policy
from maporl_cli.agents.roles import Role, register_role_book, role_book
from maporl_cli.core.atomic import discard
from maporl_cli.core.errors import ConfigError, DataError, Interrupted, MissingError, RunFailed
from maporl_cli.core.run_dir import RunDir
from maporl_cli.core.types import Episode
from maporl_cli.monitoring.jsonl import read_metrics
from maporl_cli.rewards.component import Measure, register_component
from maporl_cli.worker import Request, evaluate_run, train

pytestmark = pytest.mark.usefixtures("undrawn")

TRAIN = sys.modules[train.__module__]  # its name in the package is the function's
TEAM_RUN = sys.modules[TRAIN.TeamRun.__module__]


@pytest.fixture(scope="module")
def with_baselines(tmp_path_factory) -> tuple[dict[str, Any], Path]:
    """What a run of the team and both baselines told, and where it is. For reading alone."""
    folder = tmp_path_factory.mktemp("with_baselines")
    return go(small(folder), profile=True), folder / "run"


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained_once")
    go(small(folder, "eval.baselines=[]"))
    return folder / "run"


@pytest.fixture
def finished(trained_once, tmp_path) -> Path:
    """The test's own run of the team alone, as `small(tmp_path, "eval.baselines=[]")` names it; finished."""
    return shutil.copytree(trained_once, tmp_path / "run")


def weights(run: Path, agent: str = "planner") -> bytes:
    return (run / "checkpoints" / "step_000004" / "agents" / agent / "weights.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("method", "phase", "setting"),
    [
        ("score", "the cold start", "train.cold_start.batch_size"),
        ("keep_reference", "keeping its reference", "train.kl_coeff=0"),
    ],
)
def test_too_little_memory_before_training_names_the_phase(tmp_path, monkeypatch, method, phase, setting):
    def too_much(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(CausalPolicy, method, too_much)
    with pytest.raises(OutOfMemory, match="'planner'") as told:
        go(small(tmp_path, "train.kl_coeff=0.1"))
    assert told.value.where == phase
    assert setting in told.value.fix


def test_a_run_from_its_config_to_its_results(with_baselines):
    done, run = with_baselines
    assert done["event"] == "done"
    assert done["steps"] == 4
    assert set(done["eval"]) == {"before", "after", "single", "reporter_alone"}
    assert all(0 <= found["accuracy"] <= 1 and found["n"] == 12 for found in done["eval"].values())
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4]
    assert len((run / "episodes" / "step_000004.jsonl").read_text().splitlines()) == 16
    assert json.loads((run / "training_results.json").read_text())["eval"] == done["eval"]
    assert (run / "report.html").is_file()
    log = (run / "training.log").read_text()
    for said in ("Z  step 4/4  accuracy", "Z  single: step 1/", "Z  after training: accuracy"):
        assert said in log
    for agent in ("planner", "researcher", "analyst", "reporter"):
        AutoModelForCausalLM.from_pretrained(run / "final_model" / agent)
        assert AutoTokenizer.from_pretrained(run / "final_model" / agent)("task treatment").input_ids
    asked = Request(run=run, checks=("shuffled", "silenced"))
    found = evaluate_run(small(run.parent), asked, display="none")
    assert found["accuracy"] == done["eval"]["after"]["accuracy"]
    for mine, theirs in (("untrained", "before"), ("single", "single"), ("reporter_alone", "reporter_alone")):
        assert found["baselines"][mine]["accuracy"] == done["eval"][theirs]["accuracy"]


def test_a_profile_of_one_rank_tells_where_all_of_its_time_went(with_baselines):
    done, run = with_baselines
    (rank,) = done["profile"]
    phases = rank["phases"]
    assert sum(phase["seconds"] for phase in phases.values()) == pytest.approx(rank["seconds"])
    assert {"cold start", "rollout", "update", "baseline single", "baseline reporter_alone"} < set(phases)
    assert not any("waiting" in phase["parts"] for phase in phases.values()), "there is nobody to wait for"
    events = json.loads((run / "profile.json").read_text())["traceEvents"]
    # The team's alone: those of the baselines are in theirs.
    ours = [event["dur"] / 1e6 for event in events if event["ph"] == "X" and event["name"] == "rollout"]
    assert sum(ours[:4]) == pytest.approx(phases["rollout"]["seconds"], abs=1e-4)
    assert len(ours) > 4


def test_a_run_with_value_heads_and_a_credit_in_vain(tmp_path):
    go(small(tmp_path, "train.algorithm=maporl_ppo", "train.credit=influence", "eval.baselines=[]"))
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    agents = ("planner", "researcher", "analyst", "reporter")
    told = [(row, agent) for row in rows[1:] for agent in agents if row[f"{agent}:tokens"]]
    assert told, "policies so young finish few turns, but some"
    assert all(row[f"{agent}:explained_variance"] <= 1.0 for row, agent in told)
    said = (tmp_path / "run" / "training.log").read_text()
    assert "caution: train.credit=influence pays for changed answers" in said


def test_the_same_seed_gives_the_same_run_and_another_seed_another(trained_once, tmp_path):
    for name, seed in (("again", 0), ("another", 1)):
        go(small(tmp_path, "eval.baselines=[]", f"run.seed={seed}", name=name))
    runs = [trained_once, tmp_path / "again", tmp_path / "another"]
    assert weights(runs[0]) == weights(runs[1]) != weights(runs[2])
    episodes = [(run / "episodes" / "step_000004.jsonl").read_text() for run in runs]
    assert episodes[0] == episodes[1] != episodes[2]


def test_an_agent_that_is_not_trained_stays_where_it_started(tmp_path):
    seats = "[{name: planner, max_new_tokens: 8, trained: false}, {name: reporter, max_new_tokens: 8}]"
    go(small(tmp_path, f"team.agents={seats}", "eval.baselines=[]"))
    first = tmp_path / "run" / "checkpoints" / "step_000000" / "agents" / "planner" / "weights.safetensors"
    assert first.read_bytes() == weights(tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ("train.algorithm=nothing", ConfigError),
        ("train.credit=nothing", ConfigError),
        ("reward.extra_weights={nothing: 1}", ConfigError),
        ("model.finetune=lora", ConfigError),
        ("model.name=/nowhere/at/all", MissingError),
        ("team.roles=nobody", ConfigError),
        ("data.train=missing.jsonl", DataError),
    ],
)
def test_a_run_that_could_not_begin_leaves_nothing_in_the_way(tmp_path, change, error):
    with pytest.raises((error, ConfigError)) as raised:
        go(small(tmp_path, change))
    assert "Fix:" in str(raised.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("finished")
def test_resume_refuses_a_changed_science_field_by_name(tmp_path):
    with pytest.raises(ConfigError, match=r"train\.learning_rate"):
        go(small(tmp_path, "eval.baselines=[]", "train.learning_rate=0.5"), resume=True)


@pytest.mark.usefixtures("finished")
def test_a_refused_resume_loads_no_model(tmp_path, monkeypatch):
    monkeypatch.setattr(TRAIN, "open_session", lambda *_: pytest.fail("a model was loaded"))
    with pytest.raises(ConfigError, match=r"run\.seed"):
        go(small(tmp_path, "eval.baselines=[]", "run.seed=5"), resume=True)


@pytest.fixture
def ctrl_c_heard():
    """A shell's background job, as this may be, is started deaf to SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_before_a_run_is_opened_strikes_at_once(tmp_path, monkeypatch, ctrl_c_heard):
    def interrupted(*_):
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the model went on loading")

    monkeypatch.setattr(TRAIN, "open_session", interrupted)
    with pytest.raises(KeyboardInterrupt):
        go(small(tmp_path))
    assert not (tmp_path / "run").exists()


def ids(episode: Episode) -> Measure:
    """Pays for nothing sensible, but differently in almost every episode, so that something is learned."""
    return Measure(sum(sum(turn.token_ids) for turn in episode.turns) % 97 / 97)


def test_the_kl_is_measured_from_the_cold_started_team_also_after_a_resume(tmp_path):
    register_component("ids", ids)
    strong = [
        "eval.baselines=[]",
        "train.kl_coeff=0.5",
        "train.learning_rate=0.01",
        "reward.extra_weights={ids: 1}",
    ]
    strong += ["train.cold_start.role_steps=60"]  # or no turn would ever end
    go(small(tmp_path, *strong, name="whole"))
    rows = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    kls = [row["planner:kl"] for row in rows[1:]]
    assert kls[0] == pytest.approx(0.0, abs=1e-6)  # nothing has been learned yet
    assert kls[-1] > 1e-6
    killed_after_step_2(tmp_path / "whole", tmp_path / "parts")
    go(small(tmp_path, *strong, name="parts"), resume=True)
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")


def test_a_resumed_run_reads_with_the_very_reader(tmp_path):
    """The frozen start of the reporter is in no checkpoint but the first."""
    register_component("ids", ids)
    sets = [
        "eval.baselines=[]",
        "train.kl_coeff=0",
        "train.credit=potential",
        "reward.extra_weights={ids: 1}",
    ]
    sets += ["train.learning_rate=0.01", "train.cold_start.role_steps=60"]
    go(small(tmp_path, *sets, name="whole"))
    killed_after_step_2(tmp_path / "whole", tmp_path / "parts")
    go(small(tmp_path, *sets, name="parts"), resume=True)
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
    first = tmp_path / "parts" / "checkpoints" / "step_000000" / "agents" / "planner" / "weights.safetensors"
    assert first.read_bytes() != weights(tmp_path / "parts")


def test_a_run_is_not_deleted_for_one_that_cannot_begin(finished, tmp_path):
    before = weights(finished)
    for change in ("model.name=/nowhere/at/all", "data.train=missing.jsonl"):
        with pytest.raises((MissingError, DataError, ConfigError)):
            train(small(tmp_path, change), resume=False, overwrite=True, command="test", display="none")
    assert weights(finished) == before


def test_a_resumed_run_keeps_how_it_began(finished, tmp_path):
    config = small(tmp_path, "eval.baselines=[]")
    began = json.loads((finished / "manifest.json").read_text())
    train(config, resume=True, overwrite=False, command="the second", display="none")
    now = json.loads((finished / "manifest.json").read_text())
    assert now | {"resumed": []} == began
    assert [sitting["command"] for sitting in now["resumed"]] == ["the second"]
    (finished / "manifest.json").unlink()  # as if killed before it had one
    train(config, resume=True, overwrite=False, command="the third", display="none")
    again = json.loads((finished / "manifest.json").read_text())
    assert again == began | {"command": "the third"}


def test_a_baseline_without_a_role_is_told_before_anything_is_trained(tmp_path, saved_lora):
    register_role_book(
        replace(role_book("guide"), name="no-single", roles={"reporter": Role("reporter", (), "")})
    )
    alone = "team.agents=[{name: reporter}]"
    with pytest.raises(ConfigError, match="no role for the agent 'single'"):
        go(small(tmp_path, *saved_lora, "team.roles=no-single", alone, "eval.baselines=[single]"))
    assert not (tmp_path / "run").exists()


def test_wandb_without_a_key_is_told_before_a_run_is_deleted(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(TRAIN, "refuse_without_key", refuse)
    with pytest.raises(MissingError, match="no key"):
        train(small(tmp_path), resume=False, overwrite=True, command="test", display="none")
    assert weights(finished)


def refuse(_):
    raise MissingError("there is no key", fix="have one")


def test_scores_are_taken_under_the_temperature_of_sampling(tmp_path, saved_lora):
    go(small(tmp_path, *saved_lora, *seats(planner="temperature: 1.5", reporter="temperature: 2.5")))
    first = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[1])
    assert first["planner:grad_norm"] > 0
    assert first["planner:clipped"] == first["reporter:clipped"] == 0  # nothing was learned between


def test_an_agent_learns_at_its_own_rate(tmp_path, saved_lora):
    go(small(tmp_path, *saved_lora, *seats(planner="learning_rate: 1.0e-12", reporter="temperature: 1.0")))
    moves = {agent: moved(tmp_path / "run", agent) for agent in ("planner", "reporter")}
    assert moves["planner"] < 1e-9 < 1e-4 < moves["reporter"]


def test_baselines_start_from_the_very_weights_the_team_started_from(with_baselines):
    _, run = with_baselines
    first = Path("checkpoints") / "step_000000" / "agents"
    start = (run / first / "reporter" / "weights.safetensors").read_bytes()
    for name, agent in (("single", "single"), ("reporter_alone", "reporter")):
        own = run / "baselines" / name / first / agent / "weights.safetensors"
        assert own.read_bytes() == start
    alone = json.loads((run / "training_results.json").read_text())
    tokens = {name: alone["eval"][name]["train_tokens"] for name in ("single", "reporter_alone")}
    # as many tokens as the team, within half a step of its own
    assert tokens["single"] == pytest.approx(alone["train_tokens"], rel=0.15)
    assert alone["eval"]["reporter_alone"]["steps"] == 4


def test_adapters_learn_resume_and_leave_the_base_alone(tmp_path, saved_lora):
    """Four steps at once and in two sittings; then the saved adapters on the base as it is on disk."""
    go(small(tmp_path, *saved_lora, name="whole"))
    run = tmp_path / "whole"
    assert all(moved(run, agent) > 0 for agent in ("planner", "researcher", "analyst", "reporter"))
    killed_after_step_2(run, tmp_path / "parts")
    go(small(tmp_path, *saved_lora, name="parts"), resume=True)
    for agent in ("planner", "reporter"):
        assert weights(tmp_path / "parts", agent) == weights(run, agent)
    recorded = lines(run / "eval" / "after.greedy.records.jsonl")
    config = small(tmp_path, *saved_lora, name="whole")
    found = evaluate_run(config, Request(run=run, baselines=()), display="none")
    again = lines(Path(found["records"]))
    assert all(row.pop("score") for row in again), "only the command's evaluations are scored"
    assert again == recorded


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def seats(**agents: str) -> list[str]:
    listed = ", ".join(f"{{name: {name}, max_new_tokens: 12, {more}}}" for name, more in agents.items())
    return [f"team.agents=[{listed}]"]


def moved(run: Path, agent: str) -> float:
    before, after = (
        load_file(run / "checkpoints" / step / "agents" / agent / "weights.safetensors")
        for step in ("step_000000", "step_000004")
    )
    return max(float((after[name] - before[name]).abs().max()) for name in before)


@pytest.fixture
def saved_lora(tmp_path_factory) -> list[str]:
    """Settings for adapters on a model from disk, paid for anything, on questions from a file."""
    register_component("ids", ids)
    folder = tmp_path_factory.mktemp("model")
    tiny_policy(3).save(folder / "base")
    rows = [
        json.dumps({"question": f"w{n} w{n % 7}", "options": [f"w{n}", "w1 w2"], "label": "A"})
        for n in range(3, 23)
    ]
    (folder / "questions.jsonl").write_text("\n".join(rows))
    return [
        f"model.name={folder / 'base'}",
        "model.finetune=lora",
        "team.roles=guide",
        *seats(**dict.fromkeys(("planner", "researcher", "analyst", "reporter"), "temperature: 2.0")),
        f"data.train={folder / 'questions.jsonl'}",
        "data.max_train_samples=null",
        "data.max_eval_samples=null",
        "reward.extra_weights={ids: 1}",
        "train.learning_rate=0.01",
        "eval.baselines=[]",
    ]


def test_resume_refuses_data_that_has_changed(tmp_path):
    file = tmp_path / "questions.jsonl"
    rows = [json.dumps({"question": f"q{n} {n * 7}", "options": ["a", "b"], "label": "A"}) for n in range(9)]
    file.write_text("\n".join(rows))
    config = small(
        tmp_path, f"data.train={file}", "eval.baselines=[]", "model.name=stand-in", "team.roles=guide"
    )
    register_policy("stand-in", lambda agent: tiny_policy())
    go(config)
    results = (tmp_path / "run" / "training_results.json").read_bytes()
    file.write_text("\n".join(reversed(rows)))
    with pytest.raises(DataError, match=r"questions\.jsonl"):
        go(config, resume=True)
    assert (tmp_path / "run" / "training_results.json").read_bytes() == results


@pytest.mark.parametrize(
    ("file", "content", "named"),
    [
        ("config.yaml", "", r"config\.yaml"),
        ("manifest.json", "{", r"manifest\.json"),
        ("eval/before.json", "{", r"before\.json"),
        ("metrics.jsonl", "nonsense\n", r"metrics\.jsonl"),
        ("checkpoints/step_000000/manifest.json", "{}", "step_000000"),
    ],
)
def test_a_damaged_file_is_named_and_nothing_is_lost(finished, tmp_path, file, content, named):
    discard(finished / "checkpoints" / "step_000004")  # so that there is something left to do
    (finished / file).write_text(content)
    with pytest.raises(RunFailed, match=named):
        go(small(tmp_path, "eval.baselines=[]"), resume=True)
    assert (finished / "checkpoints" / "step_000002").is_dir()


def test_a_run_without_a_whole_checkpoint_does_not_start_over_in_silence(finished, tmp_path):
    for path in (finished / "checkpoints").glob("*/manifest.json"):
        path.unlink()
    with pytest.raises(RunFailed, match="No checkpoint of the run is whole"):
        go(small(tmp_path, "eval.baselines=[]"), resume=True)
    assert (finished / "final_model" / "planner").is_dir()


@pytest.mark.parametrize("last", [0, 2])
def test_a_resumed_run_repeats_no_line_of_its_metrics(finished, tmp_path, last):
    for step in (2, 4):
        if step > last:
            discard(finished / "checkpoints" / f"step_{step:06d}")
    go(small(tmp_path, "eval.baselines=[]"), resume=True)
    rows = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("step", [2, 4])
def test_an_evaluation_on_the_way_that_was_stopped_is_made_up_for(tmp_path, monkeypatch, step):
    """The step keeps its checkpoint, so that no later step would ever evaluate it."""
    sets = ("eval.baselines=[]", "train.eval_every=2", "train.max_steps=4")
    go(small(tmp_path / "whole", *sets))
    evaluated = TEAM_RUN.evaluate
    on_the_way = iter(range(2, 5, 2))

    def struck(*given: Any, **named: Any) -> Any:
        if named["records"].name == "during.records.jsonl" and next(on_the_way) == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return evaluated(*given, **named)

    config = small(tmp_path / "broken", *sets)
    with monkeypatch.context() as patched:
        patched.setattr(TEAM_RUN, "evaluate", struck)
        with pytest.raises(Interrupted):
            go(config)
    run = RunDir.of(config)
    assert [row["step"] for row in read_metrics(run.metrics) if "eval:accuracy" not in row][-1] == step
    go(config, resume=True)
    whole = tmp_path / "whole" / "run"
    assert measured(run.metrics) == measured(whole / "metrics.jsonl")
    assert set(measured(run.metrics)) == {0, 2, 4}
    records = "eval/during.records.jsonl"
    assert (run.path / records).read_bytes() == (whole / records).read_bytes()
    before = run.metrics.read_bytes()
    go(config, resume=True)
    assert run.metrics.read_bytes() == before, "what is measured is not measured again"


def measured(metrics: Path) -> dict[int, tuple[float, float]]:
    rows = [row for row in read_metrics(metrics) if "eval:accuracy" in row]
    return {row["step"]: (row["eval:accuracy"], row["eval:invalid"]) for row in rows}
