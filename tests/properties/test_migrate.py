"""Random chains of migration steps against a naive migration of arrays in memory."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import embsnap
from embsnap.errors import EmbsnapError, NotFoundError
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.formats.vocabulary import read_vocabulary
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.testing.tables import read_array, write_arrays
from embsnap.testing.vocabularies import listed, make_vocabulary

STATE = "optimizer/state/fused_opt.ebc.embedding_bags.{0}.weight/{0}.{1}"
NUMBERS = itertools.count()


@dataclass
class Naive:
    """A table as the oracle sees it: rows, states and ids by row (None for a row without an entity)."""

    rows: np.ndarray
    state: dict[str, np.ndarray]
    ids: list[int | None]
    counts: dict[int, int] = field(default_factory=dict)


@dataclass
class World:
    """The snapshot so far, and the migration that is to make it."""

    tables: dict[str, Naive]
    migration: Any
    root: str
    fresh: Any

    def vocabulary(self, ids: list[int | None], counts: dict[int, int]) -> str:
        """A file with these entities, in any order."""
        held = [(entity, row) for row, entity in enumerate(ids) if entity is not None]
        held = held[::-1]
        uri = f"{self.root}/{next(NUMBERS)}.parquet"
        vocabulary = make_vocabulary(
            [entity for entity, _ in held], [row for _, row in held], counts=[counts[entity] for entity, _ in held]
        )
        write_vocabulary(vocabulary, uri)
        return uri


def moved(table: Naive, rows: list[int], ids: list[int | None]) -> Naive:
    """Rows in other places, -1 for a row of zeros."""

    def take(array: np.ndarray) -> np.ndarray:
        return np.stack([array[row] if row >= 0 else np.zeros_like(array[0]) for row in rows])

    return Naive(take(table.rows), {name: take(array) for name, array in table.state.items()}, ids, table.counts)


def revocab(world: World, name: str, data: st.DataObject) -> None:
    table = world.tables[name]
    known = [entity for entity in table.ids if entity is not None]
    kept = data.draw(st.lists(st.sampled_from(known), min_size=1, unique=True))
    new = [next(world.fresh) for _ in range(data.draw(st.integers(0, 3)))]
    gaps = [None] * data.draw(st.integers(0, 2))
    ids: list[int | None] = data.draw(st.permutations([*kept, *new, *gaps]))
    counts = {entity: data.draw(st.integers(0, 5)) for entity in [*kept, *new]}
    world.migration = world.migration.revocab(name, world.vocabulary(ids, counts), rows=len(ids), initializer="zeros")
    rows = [table.ids.index(entity) if entity in known and entity is not None else -1 for entity in ids]
    world.tables[name] = moved(table, rows, ids)
    world.tables[name].counts = counts


def resize(world: World, name: str, data: st.DataObject) -> None:
    table = world.tables[name]
    num_rows = data.draw(st.integers(1, len(table.ids) + 4))
    if not any(entity is not None for entity in table.ids[:num_rows]):
        return
    world.migration = world.migration.resize(name, num_rows, initializer="zeros", shrink="truncate")
    rows = [row if row < len(table.ids) else -1 for row in range(num_rows)]
    world.tables[name] = moved(table, rows, [table.ids[row] if row >= 0 else None for row in rows])


def prune(world: World, name: str, data: st.DataObject) -> None:
    table = world.tables[name]
    least = data.draw(st.integers(0, 5))
    rows = [row for row, entity in enumerate(table.ids) if entity is not None and table.counts[entity] >= least]
    if rows:
        world.migration = world.migration.prune(name, min_count=least)
        world.tables[name] = moved(table, rows, [table.ids[row] for row in rows])


def dim(world: World, name: str, data: st.DataObject) -> None:
    table = world.tables[name]
    width, to = table.rows.shape[1], data.draw(st.integers(1, 7))
    if to == width:
        return
    by = "pad" if to > width else "truncate"
    world.migration = world.migration.dim(name, to, by=by)

    def fit(array: np.ndarray) -> np.ndarray:
        cut = array[:, :to]
        return np.pad(cut, ((0, 0), (0, to - cut.shape[1])))

    state = {key: fit(array) if array.ndim == 2 else array for key, array in table.state.items()}
    world.tables[name] = Naive(fit(table.rows), state, table.ids, table.counts)


def cast(world: World, name: str, data: st.DataObject) -> None:
    table = world.tables[name]
    to, dtype = data.draw(
        st.sampled_from(
            [("fp16", np.float16), ("bf16", ml_dtypes.bfloat16), ("fp32", np.float32), ("fp64", np.float64)]
        )
    )
    world.migration = world.migration.cast(name, to)
    wide = table.rows.astype(np.float64 if table.rows.dtype == np.float64 and to == "fp64" else np.float32)
    if table.rows.dtype == np.float64:
        wide = table.rows
    world.tables[name] = Naive(wide.astype(dtype), table.state, table.ids, table.counts)


def normalize(world: World, name: str, data: st.DataObject) -> None:
    table = world.tables[name]
    low = data.draw(st.integers(-3, 0)) / 4
    world.migration = world.migration.normalize(name, low=low, high=0.5)
    clipped = np.clip(table.rows.astype(np.float64), low, 0.5).astype(table.rows.dtype)
    world.tables[name] = Naive(clipped, table.state, table.ids, table.counts)


def rename(world: World, name: str, data: st.DataObject) -> None:
    new = f"t{next(NUMBERS)}"
    world.migration = world.migration.rename({name: new})
    world.tables = {new if key == name else key: table for key, table in world.tables.items()}


def copy(world: World, name: str, data: st.DataObject) -> None:
    new = f"t{next(NUMBERS)}"
    world.migration = world.migration.copy(name, new)
    world.tables[new] = world.tables[name]


def drop(world: World, name: str, data: st.DataObject) -> None:
    if len(world.tables) > 1:
        world.migration = world.migration.drop(name)
        del world.tables[name]


def merge(world: World, name: str, data: st.DataObject) -> None:
    first = world.tables[name]

    def kind(table: Naive) -> tuple[Any, ...]:
        return table.rows.shape[1], table.rows.dtype, sorted((key, a.shape[1:]) for key, a in table.state.items())

    alike = [key for key, table in world.tables.items() if key != name and kind(table) == kind(first)]
    if not alike:
        return
    other = data.draw(st.sampled_from(alike))
    rule = data.draw(st.sampled_from(["mean", "count", "priority"]))
    new = f"t{next(NUMBERS)}"
    world.migration = world.migration.merge([name, other], new, conflict=rule)
    second = world.tables[other]
    ids = [entity for entity in first.ids if entity is not None]
    ids += [entity for entity in second.ids if entity is not None and entity not in ids]

    def merged(one: np.ndarray, two: np.ndarray) -> np.ndarray:
        out = []
        for entity in ids:
            rows = [(a[t.ids.index(entity)], t) for a, t in ((one, first), (two, second)) if entity in t.ids]
            if len(rows) == 1 or rule == "priority":
                out.append(rows[0][0])
                continue
            weights = [float(t.counts[entity]) for _, t in rows] if rule == "count" else [1.0, 1.0]
            if not sum(weights):
                weights = [1.0, 1.0]
            total = sum(row.astype(np.float64) * weight for (row, _), weight in zip(rows, weights, strict=True))
            out.append((total / sum(weights)).astype(one.dtype))
        return np.stack(out)

    counts = {e: first.counts.get(e, 0) * (e in first.ids) + second.counts.get(e, 0) * (e in second.ids) for e in ids}
    state = {key: merged(first.state[key], second.state[key]) for key in first.state}
    table = Naive(merged(first.rows, second.rows), state, list(ids), counts)
    world.tables = {key: t for key, t in world.tables.items() if key not in (name, other)} | {new: table}


def split(world: World, name: str, data: st.DataObject) -> None:
    table = world.tables[name]
    known = [entity for entity in table.ids if entity is not None]
    part = data.draw(st.lists(st.sampled_from(known), min_size=1, unique=True))
    rest = [entity for entity in known if entity not in part]
    one, two = f"t{next(NUMBERS)}", f"t{next(NUMBERS)}"
    if not rest:
        return
    world.migration = world.migration.split(name, {one: {"ids": part}}, rest=two)
    del world.tables[name]
    for key, chosen in ((one, part), (two, rest)):
        rows = [row for row, entity in enumerate(table.ids) if entity in chosen]
        world.tables[key] = moved(table, rows, [table.ids[row] for row in rows])


def shard(world: World, name: str, data: st.DataObject) -> None:
    placing = data.draw(st.sampled_from(["keep", "row-wise", "column-wise", "table-wise"]))
    world.migration = world.migration.shard(world_size=data.draw(st.integers(1, 4)), placing=placing)


def strip(world: World, name: str, data: st.DataObject) -> None:
    world.migration = world.migration.optimizer_state("drop")
    world.tables = {key: Naive(t.rows, {}, t.ids, t.counts) for key, t in world.tables.items()}


STEPS = [revocab, resize, prune, dim, cast, normalize, rename, copy, drop, merge, split, shard, strip]


def begin(root: str) -> World:
    rng = np.random.default_rng(0)
    tables, weights, states = {}, {}, {}
    for name, ids in (("user", list(range(12))), ("item", list(range(8, 18)))):
        rows = rng.normal(size=(len(ids), 4)).astype(np.float32)
        state = {"momentum1": rng.random(len(ids)).astype(np.float32), "exp_avg": rng.normal(size=rows.shape)}
        state["exp_avg"] = state["exp_avg"].astype(np.float32)
        weights[name] = rows
        states |= {STATE.format(name, key): array for key, array in state.items()}
        tables[name] = Naive(rows, state, list(ids), {entity: entity % 5 for entity in ids})
    states["model/dense.weight"] = rng.normal(size=(3, 5)).astype(np.float32)
    write_arrays(f"{root}/source", weights, states)
    world = World(tables, embsnap.migration(f"{root}/source"), root, itertools.count(1000))
    for name, table in tables.items():
        world.migration = world.migration.vocab(name, world.vocabulary(table.ids, table.counts))
    return world


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_chain_does_what_its_steps_do_one_by_one(data: st.DataObject) -> None:
    world = begin(f"memory://migrations/{next(NUMBERS)}")
    for step in data.draw(st.lists(st.sampled_from(STEPS), min_size=1, max_size=6)):
        step(world, data.draw(st.sampled_from(sorted(world.tables))), data)
    out = f"{world.root}/out"
    result = world.migration.write(out)
    snapshot = open_snapshot(out)
    assert snapshot.findings == ()
    assert {table.name for table in snapshot.tables()} == set(world.tables)
    recorded = snapshot.sidecar.tables
    for name, expected in world.tables.items():
        assert read_array(snapshot, name).tobytes() == expected.rows.tobytes(), (name, world.migration.steps)
        found = {state.name: read_array(snapshot, state.array) for state in snapshot.table(name).state}
        assert {key: array.tobytes() for key, array in found.items()} == {
            key: array.tobytes() for key, array in expected.state.items()
        }
        vocabulary = read_vocabulary(recorded[name].uri)
        pairs = dict(zip(listed(vocabulary.ids), vocabulary.rows_N.tolist(), strict=True))
        assert pairs == {entity: row for row, entity in enumerate(expected.ids) if entity is not None}
    assert (
        read_array(snapshot, "model/dense.weight").tobytes()
        == read_array(f"{world.root}/source", "model/dense.weight").tobytes()
    )
    assert result.applied


def test_wrong_chains_are_refused_before_anything_is_written() -> None:
    world = begin(f"memory://migrations/{next(NUMBERS)}")
    wrong = [
        world.migration.drop("nobody"),
        world.migration.resize("user", 3),
        world.migration.resize("user", 3, shrink="unheld"),
        world.migration.merge(["user", "item"], "both"),
        world.migration.dim("user", 8, by="truncate"),
        world.migration.rename({"user": "item"}),
    ]
    for migration in wrong:
        with pytest.raises(EmbsnapError):
            migration.write(f"{world.root}/out")
    with pytest.raises(NotFoundError):
        open_snapshot(f"{world.root}/out")
