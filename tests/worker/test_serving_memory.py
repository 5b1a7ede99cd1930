"""What an endpoint's GPUs need, against what a team takes that is loaded."""

from __future__ import annotations

from served_run import finished_run

from maporl_cli.training.memory import PROCESS
from maporl_cli.worker.final_model import of_folders, open_final_model
from maporl_cli.worker.narrator import Narrator
from maporl_cli.worker.serving_memory import serving_memory


def test_weights_are_counted_as_they_are_loaded_and_agents_go_round(tmp_path) -> None:
    run = finished_run(tmp_path)
    config = of_folders(run, run.load_config())
    policies = open_final_model(run, Narrator("none")).policies
    bytes_of = [
        sum(one.numel() * one.element_size() for one in policy.trainable().values())
        for policy in policies.values()
    ]
    (alone,) = serving_memory(config, 0, 64)
    # Buffers, such as the frequencies of the rotation, are in it, too.
    assert sum(bytes_of) <= alone.model <= 1.01 * sum(bytes_of)
    assert alone.peak == PROCESS + alone.model + alone.cache
    assert [need.model for need in serving_memory(config, 3, 64)] == [
        alone.model // 2,
        alone.model // 4,
        alone.model // 4,
    ]
    assert len(serving_memory(config, 8, 64)) == 4, "more GPUs than agents"


def test_a_request_needs_what_its_questions_need_as_far_as_they_are_answered_at_once(tmp_path) -> None:
    run = finished_run(tmp_path, "eval.batch_size=8")
    config = of_folders(run, run.load_config())
    one, eight, more = (serving_memory(config, 0, count)[0].cache for count in (1, 8, 64))
    assert one < eight == more
