"""The tables and the launch files of docs/distributed.md are what they are said to be."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from benchmarks import forecast

LAUNCH = Path(__file__).parents[2] / "docs" / "launch"


def test_the_tables_are_those_of_the_committed_results() -> None:
    page = forecast.PAGE.read_text(encoding="utf-8")
    assert forecast.filled(page) == page
    record = json.loads(forecast.RESULTS.read_text(encoding="utf-8"))
    assert record["forecast"] is True
    assert (record["assumed"], record["rows"]) == (forecast.ASSUMED, forecast.rows())


def test_one_gpu_is_as_fast_as_it_was_measured() -> None:
    assert forecast.step_seconds(512, 1, 1.0) == pytest.approx(0.0582, rel=0.01)
    assert forecast.exposed(1, 0.0) == 0


def test_more_gpus_take_longer_for_a_step_and_are_faster() -> None:
    for pairs in (512, 64):
        rows = [row for row in forecast.rows() if row["pairs_a_gpu"] == pairs]
        rates = [row["tokens_per_second"] for row in rows]
        assert rates == sorted(rates)
        assert rows[0]["efficiency"] == 1
        assert all(row["efficiency_in_order"] < row["efficiency"] < 1 for row in rows[1:])


def test_an_all_reduce_within_a_node_is_that_of_a_ring() -> None:
    assumed = forecast.ASSUMED
    hops = 2 * 3 * assumed["seconds_a_hop"]
    ring = 2 * 7 / 8 * 1e6 / assumed["bytes_a_second_within_a_node"]
    assert forecast.all_reduce(1e6, 8) == pytest.approx(ring + hops)


def test_the_launch_files_can_be_read() -> None:
    kubeflow = yaml.safe_load((LAUNCH / "kubeflow.yaml").read_text(encoding="utf-8"))
    assert (kubeflow["kind"], kubeflow["spec"]["trainer"]["numNodes"]) == ("TrainJob", 4)
    sky = yaml.safe_load((LAUNCH / "skypilot.yaml").read_text(encoding="utf-8"))
    scripts = [sky["run"], sky["setup"], (LAUNCH / "slurm.sh").read_text(encoding="utf-8")]
    assert {"resources", "num_nodes", "run"} <= sky.keys()
    if bash := shutil.which("bash"):
        for script in scripts:
            subprocess.run([bash, "-n"], input=script, text=True, check=True)
    for file in LAUNCH.iterdir():
        assert "ot run yet" in file.read_text(encoding="utf-8")
