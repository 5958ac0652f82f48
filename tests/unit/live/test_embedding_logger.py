"""The hook's figures are those of numpy over the whole tables; names that fit nothing are refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchrec")

from torch import nn  # noqa: E402
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig  # noqa: E402
from torchrec.modules.embedding_configs import DataType  # noqa: E402

import embsnap  # noqa: E402
from embsnap.errors import ErrorKind, NotFoundError, UsageError  # noqa: E402
from embsnap.live import row_norms  # noqa: E402
from embsnap.live.parts import LocalPart  # noqa: E402

KEY = "ebc.embedding_bags.user.weight"


class Model(nn.Module):
    """Two tables; a dead row, a small one, a NaN and an infinity in one of them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        half = {"item": DataType.FP16}
        self.ebc = EmbeddingBagCollection(
            tables=[
                EmbeddingBagConfig(
                    name=name,
                    num_embeddings=300,
                    embedding_dim=8,
                    feature_names=[name],
                    data_type=half.get(name, DataType.FP32),
                )
                for name in ("user", "item")
            ]
        )
        with torch.no_grad():
            user = self.ebc.embedding_bags["user"].weight
            user[7], user[9], user[11, 3], user[12, 0] = 0.0, 1e-6, float("nan"), float("inf")


def expected(model: Model, name: str) -> dict[str, float]:
    rows = model.ebc.embedding_bags[name].weight.detach().double().numpy()
    norms = np.linalg.norm(rows, axis=1)
    finite = norms[np.isfinite(norms)]
    return {
        f"{name}/mean_norm": finite.mean(),
        f"{name}/std_norm": finite.std(),
        f"{name}/min_norm": finite.min(),
        f"{name}/max_norm": finite.max(),
        f"{name}/num_dead": float((finite == 0).sum()),
        f"{name}/num_near_zero": float((finite <= 1e-4).sum()),
        f"{name}/num_non_finite": float(len(norms) - len(finite)),
        f"ebc.embedding_bags.{name}.weight-norm-0": finite.mean(),
    }


def test_figures_are_those_of_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_norms, "_BLOCK_BYTES", 8 * 8 * 17)
    model, logged = Model(), []
    logger = embsnap.EmbeddingLogger(
        model, ["user", "ebc.embedding_bags.item.weight"], every=5, log=lambda *a: logged.append(a)
    )
    assert [step for step in range(12) if logger.step(step) is not None] == [0, 5, 10]
    assert [step for step, _ in logged] == [0, 5, 10]
    wanted = expected(model, "user") | expected(model, "item")
    assert logged[0][1].keys() == wanted.keys()
    assert logged[0][1] == pytest.approx(wanted)
    assert wanted["user/num_dead"] == 1
    assert wanted["user/num_non_finite"] == 2
    logger.close()


def test_it_follows_the_training() -> None:
    model, logged = Model(), []
    logger = embsnap.EmbeddingLogger(model, ["item"], every=1, log=lambda step, found: logged.append(found))
    logger.step(0)
    with torch.no_grad():
        model.ebc.embedding_bags["item"].weight.mul_(2)
    logger.step(1)
    assert logged[1]["item/max_norm"] == pytest.approx(2 * logged[0]["item/max_norm"])
    assert not any(key.startswith("user") for key in logged[0])


def test_columns_that_lie_apart_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_norms, "_SUMMED_ROWS", 90)
    monkeypatch.setattr(row_norms, "_BLOCK_BYTES", 8 * 3 * 11)
    model = Model()
    rows = model.ebc.embedding_bags["user"].weight.detach()
    parts = [LocalPart((0, 0), rows[:, :3]), LocalPart((0, 3), rows[:200, 3:]), LocalPart((200, 3), rows[200:, 3:])]
    found = row_norms.summed_norms(parts, 300, lambda squares: squares).named()
    wanted = expected(model, "user")
    assert {f"user/{name}": value for name, value in found.items()} == pytest.approx(
        {name: value for name, value in wanted.items() if name.startswith("user/")}
    )


@pytest.mark.parametrize("as_given", [str, Path])
def test_tensorboard_shows_the_scalars(tmp_path: Path, as_given: type[str] | type[Path]) -> None:
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    model = Model()
    logger = embsnap.EmbeddingLogger(model, ["item"], every=2, log=as_given(tmp_path))
    for step in range(4):
        logger.step(step)
    logger.close()
    found = accumulators.EventAccumulator(str(tmp_path)).Reload()
    events = found.Scalars("item/mean_norm")
    assert [event.step for event in events] == [0, 2]
    assert events[0].value == pytest.approx(expected(model, "item")["item/mean_norm"], rel=1e-6)


@pytest.mark.parametrize("asked", ["users", "embedding_bags.user.weight", "dense"])
def test_a_name_that_fits_nothing_is_refused(asked: str) -> None:
    with pytest.raises(NotFoundError, match=KEY) as error:
        embsnap.EmbeddingLogger(Model(), [asked], log=print)
    assert error.value.kind is ErrorKind.NO_SUCH_TABLE


def test_a_name_that_fits_twice_is_refused() -> None:
    both = nn.ModuleDict({"a": Model(), "b": Model()})
    with pytest.raises(NotFoundError, match="2 tables") as error:
        embsnap.EmbeddingLogger(both, ["user"], log=print)
    assert error.value.kind is ErrorKind.AMBIGUOUS_TABLE
    figures: list[Mapping[str, float]] = []
    embsnap.EmbeddingLogger(both, [f"b.{KEY}"], log=lambda _, found: figures.append(found)).step(0)
    assert f"b.{KEY}-norm-0" in figures[0]


def test_every_is_checked() -> None:
    with pytest.raises(UsageError, match="at least 1"):
        embsnap.EmbeddingLogger(Model(), ["user"], every=0, log=print)
    for every in ("100", 1.5, None):
        with pytest.raises(UsageError, match="every: this argument does not fit"):
            embsnap.EmbeddingLogger(Model(), ["user"], every=every, log=print)


def test_a_step_is_a_number_and_comes_before_the_end() -> None:
    logger = embsnap.EmbeddingLogger(Model(), ["user"], every=10, log=print)
    for step in ("10", 10.0, None):
        with pytest.raises(UsageError, match="step: this argument does not fit"):
            logger.step(step)
    assert logger.step(np.int64(11)) is None
    logger.close()
    with pytest.raises(UsageError, match="a logger that is open"):
        logger.step(20)


def test_all_tables_where_none_are_named() -> None:
    figures: list[Mapping[str, float]] = []
    embsnap.EmbeddingLogger(Model(), None, log=lambda _, found: figures.append(found)).step(0)
    assert {name.partition("/")[0] for name in figures[0] if "/mean_norm" in name} == {"user", "item"}
