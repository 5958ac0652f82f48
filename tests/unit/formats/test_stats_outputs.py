"""Statistics as parquet, CSV, OpenMetrics, TensorBoard events and runs of Weights & Biases."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import sys
import time
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from embsnap.cli.output import to_json
from embsnap.errors import ErrorKind, RefusedError, SnapshotError, UsageError
from embsnap.formats.stats_history import StatsHistory
from embsnap.formats.stats_text import csv_text, openmetrics_text
from embsnap.formats.stats_trackers import log_to_tensorboard, log_to_wandb
from embsnap.model.statistics import statistics_of
from embsnap.ops.stats.options import StatsOptions
from embsnap.ops.stats.outputs import Outputs
from embsnap.ops.stats.plan import plan_stats
from embsnap.testing.tables import write_arrays

DIGEST = "0123456789abcdef"


@pytest.fixture
def stats(tmp_path):
    """Of step 12: a sampled table whose name needs escaping, and one with a NaN."""
    bad = np.ones((5, 2), np.float32)
    bad[0] = np.nan
    rows = np.random.default_rng(0).random((300, 4), np.float32)
    uri = str(tmp_path / "run" / "12")
    write_arrays(uri, {'a"\\b': rows, "<script>": bad})
    return plan_stats(uri, StatsOptions(sample_rows=200)).compute()


def _values(stats):
    return {(s.table, s.name, s.part): s.value for s in statistics_of(stats)}


def test_a_history_grows_by_a_file_for_each_step(stats, tmp_path):
    uri = str(tmp_path / "h.parquet")
    history = StatsHistory(uri)
    assert history.parts == ()
    history.append(stats, DIGEST)
    history.append(replace(stats, step=13), DIGEST)
    history.append(replace(stats, step=13), DIGEST)
    history = StatsHistory(uri)
    assert [(part.step, part.options) for part in history.parts] == [(12, DIGEST), (13, DIGEST)]
    assert history.read(history.parts[0]) == list(statistics_of(stats))
    assert history.find(13, stats.metadata_sha256, DIGEST) == history.parts[1]
    assert history.find(13, stats.metadata_sha256, "f" * 16) is None
    assert history.find(13, "0" * 64, DIGEST) is None
    both = pq.read_table(uri).to_pylist()
    assert {row["step"] for row in both} == {12, 13}
    assert len(both) == 2 * len(_values(stats))
    assert {(r["table"], r["statistic"], r["part"]): r["value"] for r in both} == _values(stats)
    assert {row["uri"] for row in both} == {stats.uri}
    assert any(row["low"] is not None for row in both)


def test_a_history_without_a_step(stats, tmp_path):
    history = StatsHistory(str(tmp_path / "h.parquet"))
    history.append(replace(stats, step=None), DIGEST)
    assert [part.step for part in StatsHistory(history.uri).parts] == [None]


def test_what_is_no_history_is_left_alone(stats, tmp_path):
    (tmp_path / "file.parquet").write_bytes(b"mine")
    (tmp_path / "dir.parquet").mkdir()
    (tmp_path / "dir.parquet" / "mine.parquet").write_bytes(b"mine")
    for name in ("file.parquet", "dir.parquet"):
        with pytest.raises(RefusedError, match="is no history") as caught:
            StatsHistory(str(tmp_path / name))
        assert caught.value.kind is ErrorKind.DESTINATION_TAKEN


@pytest.mark.parametrize("data", [b"", b"PAR1 nonsense", None])
def test_a_damaged_file_of_a_history(stats, tmp_path, data):
    history = StatsHistory(str(tmp_path / "h.parquet"))
    path = history.append(stats, DIGEST)
    if data is None:
        table = pq.read_table(path).drop_columns(["value"])
        pq.write_table(table, path)
    else:
        with open(path, "wb") as file:
            file.write(data)
    history = StatsHistory(history.uri)
    with pytest.raises(SnapshotError, match="no file of statistics") as caught:
        history.read(history.parts[0])
    assert caught.value.kind is ErrorKind.BAD_PARQUET


def test_csv(stats):
    rows = list(csv.DictReader(io.StringIO(csv_text(stats))))
    assert {(row["table"], row["statistic"], row["part"]): float(row["value"]) for row in rows} == _values(stats)
    assert {row["step"] for row in rows} == {"12"}
    sampled = next(row for row in rows if row["statistic"] == "norm.mean" and row["low"])
    assert float(sampled["low"]) < float(sampled["value"]) < float(sampled["high"])


_SAMPLE = re.compile(r'([a-zA-Z_:][\w:]*)(?:\{table="((?:[^"\\\n]|\\[\\n"])*)",part="([^"\\]*)"\})? (\S+)')


def test_openmetrics(stats):
    """Each family is typed once, before its samples; the last line ends the text; labels are escaped."""
    text = openmetrics_text(replace(stats, tables=tuple(_with_infinity(table) for table in stats.tables)))
    *lines, last, empty = text.split("\n")
    assert (last, empty) == ("# EOF", "")
    typed, found = [], {}
    for line in lines:
        if line.startswith("# TYPE "):
            typed.append(line.split()[2])
            assert line.endswith(" gauge")
        elif not line.startswith("# HELP "):
            name, table, part, value = _SAMPLE.fullmatch(line).groups()
            assert name == typed[-1]
            found[name, table, part] = float(value)
    assert len(set(typed)) == len(typed)
    assert found["embsnap_snapshot_step", None, None] == 12
    assert found["embsnap_rows_non_finite", "<script>", "all"] == 1
    assert r"a\"\\b" in {table for _, table, _ in found}
    assert math.isinf(found["embsnap_norm_mean", "<script>", "all"])
    assert math.isnan(found["embsnap_norm_std", "<script>", "all"])


def _with_infinity(table):
    return replace(table, rows=replace(table.rows, norms=replace(table.rows.norms, mean=math.inf, std=math.nan)))


def test_tensorboard(stats, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import HISTOGRAMS, EventAccumulator

    for step in (12, 15):
        log_to_tensorboard(replace(stats, step=step), str(tmp_path / "logs"))
    events = EventAccumulator(str(tmp_path / "logs"), size_guidance={HISTOGRAMS: 0})
    events.Reload()
    assert [event.step for event in events.Scalars("<script>/norm.mean")] == [12, 15]
    for (table, name, part), value in _values(stats).items():
        tag = f"{table}/{name}" + ("" if part == "all" else f"/{part}")
        assert events.Scalars(tag)[0].value == pytest.approx(value, rel=1e-6)
    histogram = events.Histograms("<script>/norm")[0].histogram_value
    assert histogram.num == 4
    assert sum(histogram.bucket) == 4


def test_wandb_offline(stats, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    where = log_to_wandb(stats, "embeddings", mode="offline", directory=str(tmp_path))
    assert str(tmp_path) in where
    assert capfd.readouterr().err == ""
    runs = list(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))
    assert len(runs) == 1
    logged = _logged(runs[0])
    assert json.loads(logged["<script>/norm.mean"]) == pytest.approx(_values(stats)["<script>", "norm.mean", "all"])
    assert json.loads(logged["_step"]) == 12
    assert json.loads(logged["<script>/norm/_type"]) == "histogram"
    assert sum(json.loads(logged["<script>/norm/values"])) == 4


def _logged(path):
    from wandb.proto.wandb_internal_pb2 import Record

    found, kind, deadline = {}, None, time.monotonic() + 60
    while kind != "exit" and time.monotonic() < deadline:  # wandb's own process may still be writing
        records = [Record.FromString(data) for data in _records(path.read_bytes())]
        kind = records[-1].WhichOneof("record_type") if records else None
    for record in records:
        found |= {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
    return found


def _records(data):
    """LevelDB's log format in blocks of 32 KiB, behind a header of 7 bytes."""
    whole, at = b"", 7
    while at < len(data):
        if (left := -at % 32768) < 7:
            at += left
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield whole
            whole = b""


@pytest.mark.parametrize(
    ("module", "options"),
    [
        ("tensorboard.summary.writer.event_file_writer", {"tensorboard": "logs"}),
        ("wandb", {"wandb_project": "p"}),
    ],
)
def test_a_package_that_is_not_there(monkeypatch, module, options):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match="pip install") as caught:
        Outputs(storage_options={}, **options)
    assert caught.value.kind is ErrorKind.MISSING_PACKAGE


def test_all_outputs_at_once(stats, tmp_path):
    files = [str(tmp_path / f"x{suffix}") for suffix in (".json", ".csv", ".prom", ".parquet")]
    outputs = Outputs(files=files, tensorboard=str(tmp_path / "logs"), storage_options={})
    written = outputs.write(stats, DIGEST, to_json)
    assert written.written == (*files, f"TensorBoard in {tmp_path / 'logs'}")
    assert (tmp_path / "x.json").read_text() == to_json(written) + "\n"
    assert (tmp_path / "x.csv").read_text() == csv_text(stats)
    assert (tmp_path / "x.prom").read_text() == openmetrics_text(stats)
    assert len(StatsHistory(files[3]).parts) == 1
    for name in files[:3]:
        with pytest.raises(RefusedError, match="there already"):
            Outputs(files=[name], storage_options={})


@pytest.mark.parametrize("options", [{"files": ["x.txt"]}, {"tensorboard": "gs://bucket/logs"}])
def test_outputs_that_cannot_be(options):
    with pytest.raises(UsageError) as caught:
        Outputs(storage_options={}, **options)
    assert caught.value.kind is ErrorKind.BAD_OPTION
