"""`embsnap demo`: day one, the warm start, day two, and what goes wrong between them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torchsnapshot import Snapshot

from embsnap.cli.main import main
from embsnap.live.demo_config import read_config
from embsnap.live.demo_model import InteractionModel, fill_uniform
from embsnap.live.demo_places import DemoPlaces
from tests.servers.gcs import Bucket

SMALL = ("--users", "300", "--posts", "200", "--events", "51200")


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def warm_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small demo with its warm start; tests that change it take a copy."""
    directory = tmp_path_factory.mktemp("demo") / "demo"
    assert run("demo", directory, *SMALL, "--quiet") == 0
    config, warm = directory / "day2" / "warmstart.yaml", directory / "day2" / "warm"
    assert run("warmstart", config, "--out", warm, "--quiet") == 0
    return directory


def untrained_snapshot(directory: Path, uri: Path, seed: int) -> None:
    """A snapshot of day two's model that has learnt nothing."""
    model = InteractionModel(read_config(DemoPlaces(str(directory))))
    fill_uniform(model.embeddings, seed)
    Snapshot.take(str(uri), model.app_state())


def test_day_one_leaves_what_day_two_needs(embsnap, tmp_path: Path) -> None:
    done = embsnap("demo", tmp_path / "demo", *SMALL, "--json")
    assert done.exit_code == 0
    result = json.loads(done.stdout)
    assert result["schema"] == "embsnap.demo.day-one"
    assert result["num_steps"] == 100
    assert result["last_loss"] < 0.95 * result["first_loss"]
    assert [table["name"] for table in result["tables"]] == ["user", "post"]
    for table in result["tables"]:
        assert 0 < table["num_carried"] < min(table["num_day_one"], table["num_day_two"])
    assert os.path.isfile(os.path.join(result["snapshot"], ".snapshot_metadata"))
    assert embsnap("config", "validate", result["config"]).exit_code == 0


def test_the_warm_start_is_ahead(embsnap, warm_demo: Path) -> None:
    done = embsnap("demo", warm_demo, "--day", "two", "--steps", "50", "--json")
    assert done.exit_code == 0
    result = json.loads(done.stdout)
    assert result["passed"]
    assert result["optimizer_state"]
    assert len(result["warm_losses"]) == len(result["cold_losses"]) == 50
    assert result["mean_warm"] == pytest.approx(np.mean(result["warm_losses"]))
    assert result["advantage"] == pytest.approx(1 - result["mean_warm"] / result["mean_cold"])
    assert result["advantage"] >= 0.05
    assert result["pooled"]["pooled"] == pytest.approx(result["pooled"]["expected"], rel=1e-5, abs=1e-6)
    assert {norm["table"] for norm in result["mean_norms"]} == {"user", "post"}


def test_all_of_it_in_a_bucket(embsnap, gcs: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    demo = gcs.uri("demo")
    assert embsnap("demo", demo, *SMALL).exit_code == 0
    assert embsnap("demo", demo, *SMALL).exit_code == 7
    assert embsnap("warmstart", f"{demo}/day2/warmstart.yaml", "--out", f"{demo}/day2/warm").exit_code == 0
    done = embsnap("demo", demo, "--day", "two", "--steps", "50", "--json")
    assert done.exit_code == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["passed"]
    assert result["optimizer_state"]
    assert "demo/day2/warm/.snapshot_metadata" in gcs.names()
    assert list(tmp_path.iterdir()) == []


def test_both_losses_stand_side_by_side(embsnap, warm_demo: Path) -> None:
    done = embsnap("demo", warm_demo, "--day", "two", "--steps", "50")
    lines = done.stdout.splitlines()
    header = next(line for line in lines if line.startswith("step"))
    assert header.split() == ["step", "warm", "start", "cold", "start"]
    assert "% lower (passed; at least 5% is asked for)" in done.stdout
    assert "day one, summed" in done.stdout


def test_a_warm_start_that_is_no_better_fails(embsnap, warm_demo: Path, tmp_path: Path) -> None:
    demo = shutil.copytree(warm_demo, tmp_path / "demo")
    old, warm = tmp_path / "old", tmp_path / "warm"
    untrained_snapshot(demo, old, seed=1)
    config = demo / "day2" / "warmstart.yaml"
    trained = next((warm_demo / "day1" / "snapshot").iterdir())
    config.write_text(config.read_text().replace(str(trained), str(old)).replace(str(warm_demo), str(demo)))
    assert embsnap("warmstart", config, "--out", warm).exit_code == 0
    done = embsnap("demo", demo, "--day", "two", "--steps", "50", "--warm", warm)
    assert done.exit_code == 1
    assert "FAILED" in done.stdout


def test_rows_that_are_not_those_of_day_one_are_found(embsnap, warm_demo: Path, tmp_path: Path) -> None:
    untrained_snapshot(warm_demo, tmp_path / "other", seed=5)
    done = embsnap("demo", warm_demo, "--day", "two", "--steps", "50", "--warm", tmp_path / "other")
    assert done.exit_code == 5
    assert "table post, entities" in done.stderr
    assert "not the sum of the old rows" in done.stderr


def test_without_optimizer_state_it_starts_anew(embsnap, warm_demo: Path, tmp_path: Path) -> None:
    config, warm = warm_demo / "day2" / "warmstart.yaml", tmp_path / "warm"
    assert embsnap("warmstart", config, "--out", warm, "--optimizer-state", "drop").exit_code == 0
    done = embsnap("demo", warm_demo, "--day", "two", "--steps", "50", "--warm", warm)
    assert done.exit_code == 0
    assert "optimizer state reset" in done.stdout


def test_day_two_needs_the_warm_start(embsnap, warm_demo: Path, tmp_path: Path) -> None:
    done = embsnap("demo", warm_demo, "--day", "two", "--warm", tmp_path)
    assert done.exit_code == 4
    assert f"embsnap warmstart {warm_demo}/day2/warmstart.yaml --out {tmp_path}" in done.stderr


def test_day_two_needs_a_demo(embsnap, tmp_path: Path) -> None:
    done = embsnap("demo", tmp_path, "--day", "two")
    assert done.exit_code == 3
    assert f"embsnap demo {tmp_path}" in done.stderr


def test_a_directory_with_anything_else_is_refused(embsnap, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    for flags in ((), ("--overwrite",)):
        done = embsnap("demo", tmp_path, *SMALL, *flags)
        assert done.exit_code == 7
        assert str(tmp_path) in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_earlier_demo_is_replaced_only_on_request(embsnap, warm_demo: Path, tmp_path: Path) -> None:
    demo = shutil.copytree(warm_demo, tmp_path / "demo")
    (demo / "notes.txt").write_text("mine")
    refused = embsnap("demo", demo, *SMALL)
    assert refused.exit_code == 7
    assert "--overwrite" in refused.stderr
    assert embsnap("demo", demo, *SMALL, "--overwrite").exit_code == 0
    assert not (demo / "day2" / "warm").exists()
    assert (demo / "notes.txt").read_text() == "mine"


def test_a_file_is_no_directory(embsnap, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    done = embsnap("demo", tmp_path / "file", *SMALL)
    assert done.exit_code in (3, 6, 7)
    assert str(tmp_path / "file") in done.stderr
    assert (tmp_path / "file").read_text() == "mine"


def test_what_the_operating_system_refuses_is_no_bug(embsnap, tmp_path: Path) -> None:
    done = embsnap("demo", tmp_path / ("d" * 300))
    assert done.exit_code == 6
    assert "File name too long" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--events", "1000"), "events"),
        (("--posts", "3"), "posts"),
        (("--seed", "-1"), "--seed"),
        (("--seed", str(2**64)), "--seed"),
        (("--steps", "60"), "--steps"),
        (("--day", "two", "--users", "9"), "--users"),
        (("--day", "two", "--steps", "49"), "steps"),
    ],
)
def test_options_that_cannot_be_are_refused(embsnap, warm_demo: Path, arguments: tuple[str, ...], named: str) -> None:
    done = embsnap("demo", warm_demo, *arguments)
    assert done.exit_code == 2
    assert named in done.stderr


def test_day_ones_snapshot_restores_with_torchsnapshot(warm_demo: Path) -> None:
    snapshot = next((warm_demo / "day1" / "snapshot").iterdir())
    manifest = Snapshot(str(snapshot)).get_manifest()
    assert "0/model/ebc.embedding_bags.user.weight" in manifest
    assert "0/optimizer/state/fused_opt.ebc.embedding_bags.user.weight/sum" in manifest
    weight = Snapshot(str(snapshot)).read_object("0/model/ebc.embedding_bags.user.weight")
    assert weight.dtype == torch.float32
    assert weight.norm(dim=1).max() > 0.5
