"""Projector files, as TensorBoard itself reads them."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from tensorboard.backend.event_processing import plugin_event_multiplexer
from tensorboard.plugins import base_plugin
from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin
from werkzeug.test import Client
from werkzeug.wrappers import Response

from embsnap.errors import EmbsnapError, ErrorKind
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.ops.projector.options import PointFormat, ProjectorOptions, SampleOrder
from embsnap.ops.projector.plan import plan_projection
from embsnap.ops.projector.writing import write_projection
from embsnap.storage.uri import open_store
from embsnap.testing.faults import Fault, FaultStore, disk_full
from embsnap.testing.snapshots import SnapshotBuilder
from embsnap.testing.tables import write_arrays
from embsnap.testing.vocabularies import make_vocabulary

IDS = ["plain", "tab\there", "line\nbreak", "smile 😀", 'quo"te\\', "<script>", "", "last"]
ODD = 'ü <b>"'
COUNTS = [5, 80, 70, 60, 50, 40, 30, 1]


@pytest.fixture
def rows_VD():
    return np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)


@pytest.fixture
def uri(tmp_path, rows_VD):
    write_arrays(f"{tmp_path}/run", {"user": rows_VD, ODD: rows_VD[:3] + 1})
    write_vocabulary(make_vocabulary(IDS, list(range(7, -1, -1)), counts=COUNTS), f"{tmp_path}/vocab.parquet")
    return f"{tmp_path}/run"


@pytest.fixture
def options(tmp_path):
    def make(**more):
        return ProjectorOptions(**{"vocab": {"user": f"{tmp_path}/vocab.parquet"}, "tables": ["user"], **more})

    return make


def tensorboard(logdir):
    """TensorBoard's plugin over a directory: what its pages are sent."""
    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(logdir))
    context = base_plugin.TBContext(logdir=str(logdir), multiplexer=multiplexer, data_provider=None, flags=None)
    plugin = ProjectorPlugin(context)
    apps = plugin.get_plugin_apps()

    def get(path, **query):
        response = Client(apps[path], Response).get(path, query_string=query)
        assert response.status_code == 200, response.data
        return response.data

    return SimpleNamespace(get=get)


@pytest.mark.parametrize("form", PointFormat)
def test_tensorboard_shows_the_points_and_their_labels(uri, options, tmp_path, rows_VD, form):
    result = write_projection(plan_projection(uri, options(form=form, num_sampled=5)), f"{tmp_path}/out")
    board = tensorboard(tmp_path / "out")
    (run,) = json.loads(board.get("/runs"))
    (embedding,) = json.loads(board.get("/info", run=run))["embeddings"]
    assert (embedding["tensorName"], embedding["tensorShape"]) == ("user", [5, 4])
    points = np.frombuffer(board.get("/tensor", run=run, name="user"), np.float32).reshape(5, 4)
    np.testing.assert_array_equal(points, rows_VD[[6, 5, 4, 3, 2]])  # the largest counts
    labels = board.get("/metadata", run=run, name="user").decode().splitlines()
    assert labels[0] == "id\trow\tcount\tnorm"
    assert [line.split("\t")[:3] for line in labels[1:4]] == [
        ["tab\\there", "6", "80"],
        ["line\\nbreak", "5", "70"],
        ["smile 😀", "4", "60"],
    ]
    assert result.tables[0].chosen_by == "count"


def test_all_tables_with_any_names(uri, tmp_path):
    result = write_projection(plan_projection(uri), f"{tmp_path}/out")
    assert [(table.name, table.num_points, table.vocab) for table in result.tables] == [
        ("user", 8, None),
        (ODD, 3, None),
    ]
    board = tensorboard(tmp_path / "out")
    found = json.loads(board.get("/info", run="."))["embeddings"]
    assert [embedding["tensorName"] for embedding in found] == ["user", ODD]
    assert board.get("/metadata", run=".", name=ODD).startswith(b"row\tnorm\n0\t")
    assert result.num_bytes_to_write == sum(path.stat().st_size for path in (tmp_path / "out").iterdir())


def test_given_ids(uri, options, tmp_path):
    plan = plan_projection(uri, options(ids=["last", "plain"]))
    assert [entity.row for entity in plan.points[0]] == [0, 7]
    with pytest.raises(EmbsnapError) as raised:
        plan_projection(uri, options(ids=["plain", "nobody"]))
    assert raised.value.kind is ErrorKind.NO_SUCH_ENTITY
    with pytest.raises(EmbsnapError) as raised:
        plan_projection(uri, options(ids=["plain"], tables=[]))
    assert raised.value.kind is ErrorKind.BAD_OPTION


def test_a_random_sample_is_the_same_every_time(uri, options):
    plans = [plan_projection(uri, options(order=SampleOrder.RANDOM, num_sampled=3)) for _ in range(2)]
    assert plans[0].points == plans[1].points
    assert len(plans[0].points[0]) == 3


def test_points_that_are_not_finite_are_left_out_and_counted(tmp_path):
    rows_VD = np.array([[1, 2], [np.nan, 1], [3, np.inf], [1e300, 1], [0, 4]])
    write_arrays(f"{tmp_path}/run", {"user": rows_VD})
    result = write_projection(plan_projection(f"{tmp_path}/run"), f"{tmp_path}/out")
    assert (tmp_path / "out" / "user.tsv").read_text() == "1\t2\n0\t4\n"
    assert (result.tables[0].num_points, result.findings[0].count) == (2, 3)


def test_a_taken_destination_is_refused(uri, options, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    with pytest.raises(EmbsnapError) as raised:
        write_projection(plan_projection(uri, options()), f"{tmp_path}/out")
    assert raised.value.kind is ErrorKind.DESTINATION_TAKEN


@pytest.mark.parametrize("match", ["user.tsv", "user_metadata.tsv", "projector_config.pbtxt"])
def test_nothing_stays_of_a_failed_run(uri, options, tmp_path, monkeypatch, match):
    fault = Fault("create", disk_full, match=match)
    monkeypatch.setattr(
        "embsnap.ops.projector.writing.open_store", lambda uri, given: FaultStore(open_store(uri, given), fault)
    )
    with pytest.raises(EmbsnapError) as raised:
        write_projection(plan_projection(uri, options()), f"{tmp_path}/out")
    assert raised.value.kind is ErrorKind.DISK_FULL
    assert list(open_store(f"{tmp_path}/out").list()) == []


def test_a_snapshot_without_tables(tmp_path):
    write_arrays(f"{tmp_path}/run", {}, {"model/bias": np.ones(3, np.float32)})
    with pytest.raises(EmbsnapError) as raised:
        plan_projection(f"{tmp_path}/run")
    assert raised.value.kind is ErrorKind.NOTHING_TO_DO


@pytest.mark.parametrize("names", [("user", "user_metadata"), ("user_metadata", "user")])
def test_a_table_called_as_anothers_labels_are(tmp_path, names):
    write_arrays(f"{tmp_path}/odd", {name: np.full((2, 2), i, np.float32) for i, name in enumerate(names)})
    projection = write_projection(plan_projection(f"{tmp_path}/odd"), f"{tmp_path}/out")
    for i, table in enumerate(projection.tables):
        assert (tmp_path / "out" / table.tensor_file).read_text() == f"{i}\t{i}\n" * 2
        assert (tmp_path / "out" / table.metadata_file).read_text().startswith("row\tnorm\n")


def test_tables_of_one_name_are_told_apart(tmp_path):
    paths = [f"{app_key}/ebc.embedding_bags.user.weight" for app_key in ("model", "ema")]
    builder = SnapshotBuilder()
    for path in paths:
        builder.tensor(path, np.ones((2, 2), np.float32))
    plan = plan_projection(str(builder.write(tmp_path)))
    assert [table.name for table in plan.result.tables] == paths
    again = plan_projection(str(tmp_path), ProjectorOptions(tables=[paths[0], paths[0]]))
    assert [table.name for table in again.result.tables] == paths[:1]
