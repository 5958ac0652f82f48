from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from embsnap.cli.output import to_json, to_text
from embsnap.formats.sidecar import Lineage, Parent, Sidecar, TableVocabulary, sidecar_location
from embsnap.model.inspection import RunInspection, SnapshotInspection
from embsnap.ops.inspect import InspectOptions, inspect
from embsnap.testing.corruptors import edit_entry
from embsnap.testing.snapshots import SnapshotBuilder, row_shards

PATH = "model/ebc.embedding_bags.user.weight"
STATE = "optimizer/state/fused_opt.ebc.embedding_bags.user.weight/user.momentum1"


@pytest.fixture
def root(tmp_path):
    """Step 12 of a run: a row-wise table with row-wise state, a copied one, a dense layer, a pickle."""
    builder = SnapshotBuilder(world_size=2)
    builder.sharded(PATH, np.ones((1500, 4), np.float32), row_shards((1500, 4), 2))
    builder.sharded(STATE, np.ones(1500, np.float32), row_shards((1500,), 2))
    for rank in range(2):
        builder.tensor("model/ebc.embedding_bags.post.weight", np.ones((3, 4), np.float16), rank=rank)
    builder.tensor("model/dense.weight", np.ones((2, 2), np.float32))
    builder.opaque("optimizer/betas", b"pickle")
    builder.value("extra_state/step", 12)
    builder.value("extra_state/walltime", 2.5)
    return builder.write(tmp_path / "run" / "12")


@pytest.fixture
def with_sidecar(root):
    metadata = (root / ".snapshot_metadata").read_bytes()
    lineage = Lineage(
        (Parent("/old", "0" * 64),), "embsnap warmstart x.yaml", "ab", {"user": {"carried": 1400, "new": 100}}
    )
    sidecar = Sidecar(
        metadata_sha256=hashlib.sha256(metadata).hexdigest(),
        tool="embsnap 0.1.0",
        created="2024-01-02T03:04:05Z",
        objects={},
        tables={"user": TableVocabulary("/vocab/user", "v1:int64:1500:ff")},
        lineage=lineage,
    )
    file = root / sidecar_location(metadata)
    file.parent.mkdir()
    file.write_bytes(sidecar.to_bytes())
    return root


def test_text(embsnap, root):
    run = embsnap("inspect", root)
    assert run.exit_code == 0
    assert (
        run.stdout
        == f"""\
snapshot: {root}
torchsnapshot 0.1.0, world size 2, step 12, walltime 2.5, 2 tables, 23.5 KiB

table   rows  dim  dtype    bytes     sharding       shards  ranks  optimizer state
user   1,500    4  float32  23.4 KiB  row-wise            2  0-1    momentum1 row-wise 5.9 KiB
post       3    4  float16  24 B      data-parallel       1  0-1    -

value
extra_state/step      12
extra_state/walltime  2.5

other entries under  number  bytes  types
extra_state               3  -      1 dict, 1 float, 1 int
model                     3  16 B   2 OrderedDict, 1 Tensor
optimizer                 7  -      6 dict, 1 object

note: 0/optimizer/betas: 1 entry pickled, and never opened [opaque-entry]
  e.g. 0/optimizer/betas
"""
    )


def test_json_has_all_that_the_text_has(embsnap, root):
    run = embsnap("inspect", root, "--json")
    found = json.loads(run.stdout)
    assert (run.exit_code, found["schema"], found["version"]) == (0, "embsnap.inspect", 1)
    assert (found["world_size"], found["step"], found["walltime"]) == (2, 12, 2.5)
    user, post = found["tables"]
    assert (user["num_embeddings"], user["embedding_dim"], user["sharding"], user["ranks"]) == (
        1500,
        4,
        "row-wise",
        [0, 1],
    )
    assert user["state"] == [
        {
            "name": "momentum1",
            "path": STATE,
            "layout": "row-wise",
            "dtype": "float32",
            "shape": [1500],
            "num_bytes": 6000,
        }
    ]
    assert (post["sharding"], post["dtype"]) == ("data-parallel", "float16")
    assert found["findings"][0]["kind"] == "opaque-entry"
    assert {"path": "extra_state/step", "value": 12} in found["values"]


def test_a_table_by_name_shows_where_its_bytes_are(embsnap, root):
    run = embsnap("inspect", root, "user")
    assert "post" not in run.stdout
    lines = [line.split() for line in run.stdout.splitlines() if line.startswith("user")]
    assert [line[1] for line in lines[1:]] == ["0", "1"]
    assert "12,000" in lines[1]
    assert lines[1][-1].startswith("batched/")


def test_what_the_sidecar_knows(embsnap, with_sidecar):
    run = embsnap("inspect", with_sidecar)
    assert "user   /vocab/user  v1:int64:1500:ff" in run.stdout
    assert "written by embsnap 0.1.0 on 2024-01-02T03:04:05Z" in run.stdout
    assert "by the command: embsnap warmstart x.yaml" in run.stdout
    assert "from the snapshot: /old" in run.stdout
    assert "user: 1,400 carried, 100 new" in run.stdout


def test_a_line_break_in_a_table_s_name_makes_no_line(embsnap, with_sidecar):
    (file,) = (with_sidecar / ".embsnap").iterdir()
    file.write_text(file.read_text().replace('"user"', '"us\\ner: 9 faked"'))
    assert "  us\\ner: 9 faked: 1,400 carried, 100 new" in embsnap("inspect", with_sidecar).stdout.splitlines()


def test_a_run_shows_its_steps(embsnap, root):
    (root.parent / "13" / "batched").mkdir(parents=True)
    run = embsnap("inspect", root.parent)
    assert (run.exit_code, run.stdout) == (
        0,
        f"""\
run: {root.parent}, latest committed step 12

step             uri
  12  committed  {root}
  13  torn       {root.parent}/13
""",
    )
    assert json.loads(embsnap("inspect", root.parent, "--json").stdout)["latest"] == 12


@pytest.mark.parametrize("suffix", ["@latest", "@12"])
def test_a_step_of_a_run(embsnap, root, suffix):
    assert embsnap("inspect", f"{root.parent}{suffix}").stdout == embsnap("inspect", root).stdout


@pytest.mark.parametrize(
    ("change", "exit_code", "said"),
    [
        ("none", 3, "there is nothing"),
        ("torn", 4, "torn snapshot"),
        ("step", 3, "no such committed step"),
        ("broken", 4, "is not JSON"),
        ("file", 4, "a single file"),
        ("table", 3, "did you mean user?"),
        ("usage", 2, "Missing argument"),
        ("scheme", 2, "nosuch"),
    ],
)
def test_what_cannot_be_shown(embsnap, root, change, exit_code, said):
    arguments = {
        "none": [root / "none"],
        "step": [f"{root.parent}@11"],
        "table": [root, "usr"],
        "file": [root / ".snapshot_metadata"],
        "usage": [],
        "scheme": ["nosuch://host/run"],
    }.get(change, [root])
    if change == "torn":
        (root / ".snapshot_metadata").unlink()
    if change == "broken":
        (root / ".snapshot_metadata").write_text("{")
    run = embsnap("inspect", *arguments)
    assert (run.exit_code, run.stdout) == (exit_code, "")
    assert said in run.stderr


def test_a_broken_table_is_a_finding_unless_it_is_asked_for(embsnap, root):
    edit_entry(root, f"1/{PATH}", lambda entry: entry["shards"].clear())
    edit_entry(root, f"0/{PATH}", lambda entry: entry["shards"][0].update(offsets=[9, 0]))
    run = embsnap("inspect", root)
    assert run.exit_code == 0
    assert f"error: {PATH}: its pieces do not cover it exactly: gap" in run.stdout
    assert json.loads(embsnap("inspect", root, "--json").stdout)["unreadable_tables"] == [PATH]
    assert embsnap("inspect", root, "user").exit_code == 4
    assert embsnap("inspect", root, "post").exit_code == 0


def test_tables_of_one_name_are_shown_by_their_paths(embsnap, tmp_path):
    paths = [f"model/{layer}.embedding_bags.user.weight" for layer in ("ebc", "ec")]
    builder = SnapshotBuilder()
    for path in (*paths, "model/ebc.embedding_bags.post.weight"):
        builder.tensor(path, np.ones((2, 2), np.float32))
    root = builder.write(tmp_path)
    shown = [line.split()[0] for line in embsnap("inspect", root).stdout.splitlines() if "float32" in line]
    assert sorted(shown) == sorted(["post", *paths])
    pieces = embsnap("inspect", root, *paths).stdout
    assert all(sum(line.startswith(f"{path} ") for line in pieces.splitlines()) == 2 for path in paths)


def test_hostile_names_do_not_reach_the_terminal(embsnap, tmp_path):
    builder = SnapshotBuilder()
    builder.tensor("model/ebc.embedding_bags.\x1b[2Juser\ud800.weight", np.ones((2, 2), np.float32))
    builder.value("extra_state/\x1b]0;x\x07", "\x1b[31m")
    run = embsnap("inspect", builder.write(tmp_path))
    assert run.exit_code == 0
    assert "\x1b" not in run.stdout
    assert r"\x1b[2Juser\ud800" in run.stdout


def test_both_results_render_twice(root):
    snapshot, run = inspect(str(root)), inspect(str(root.parent))
    assert (type(snapshot), type(run)) == (SnapshotInspection, RunInspection)
    for result in (snapshot, run):
        assert to_text(result)
        assert json.loads(to_json(result))["uri"] == result.uri


def test_nothing_but_metadata_is_needed(root):
    before = inspect(str(root))
    for file in (root / "batched").iterdir():
        file.unlink()
    assert inspect(str(root)) == replace(before, uri=str(root))


def test_names_are_an_option_of_the_operation(root):
    (table,) = inspect(str(root), InspectOptions(names=["post"])).tables
    assert (table.name, len(table.pieces)) == ("post", 1)


def test_no_heavy_package_is_loaded(root):
    heavy = ["numpy", "pyarrow", "numba", "pydantic", "rich", "torch", "yaml"]
    code = f"""
import sys
from embsnap.cli.main import main
code = main(["inspect", {str(root)!r}])
print([name for name in {heavy} if name in sys.modules], file=sys.stderr)
sys.exit(code)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
