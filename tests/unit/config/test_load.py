from __future__ import annotations

from pathlib import Path

import pytest

from embsnap.config.embedding import (
    EmbeddingOptimizerConfig,
    LargeEmbeddingsConfig,
    SmallEmbeddingsConfig,
    StratifierConfig,
)
from embsnap.config.initializer import InitializerConfig
from embsnap.config.load import find, parse, parse_large_embeddings
from embsnap.config.optimizer import LearningRate
from embsnap.errors import ErrorKind, NotFoundError, UsageError

CONFIGS = Path(__file__).parents[2] / "data" / "configs"
TABLE = "{name: user, num_embeddings: 10, embedding_dim: 4}"


def _text(name: str) -> str:
    return (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8")


def _load(text: str, at: str | None = None, **environ: str) -> LargeEmbeddingsConfig:
    return parse_large_embeddings(text, where="a.yaml", at=at, environ=environ)


@pytest.mark.parametrize("at", [None, "model.embeddings"])
def test_tables_with_their_own_optimizers(at: str | None) -> None:
    config = _load(_text("graph"), at)
    user, post = config.tables
    assert (user.name, user.num_embeddings, user.embedding_dim, user.data_type) == ("user", 424_241, 4, "fp32")
    assert config.optimizer_of("user") == user.optimizer
    assert user.optimizer.learning_rate == LearningRate(constant=0.01)
    assert post.optimizer.adam.model_dump() == {"lr": 0.001, "betas": (0.95, 0.999), "eps": 1e-7}
    assert post.optimizer.learning_rate.kind == "linear_ramp_to_constant"


@pytest.mark.parametrize("at", [None, "model.large_embeddings"])
def test_tables_with_a_common_optimizer(at: str | None) -> None:
    config = _load(_text("ranking"), at, USER="me", TENANT="a")
    author, viewer = config.tables
    assert author.vocab == "/data/a/vocab/author"
    assert author.pretrained.embedding_snapshot_uri == "/runs/me/latest"
    assert (viewer.pretrained, viewer.vocab) == (None, None)
    assert config.optimizer == EmbeddingOptimizerConfig(
        init_learning_rate=0.01,
        learning_rate={
            "piecewise_constant": {
                "learning_rate_boundaries": [1000, 2000],
                "learning_rate_values": [0.1, 0.05, 0.01],
            }
        },
    )
    assert config.logged_tables() == ("author", "viewer")


def test_any_model_can_be_read() -> None:
    small = parse(SmallEmbeddingsConfig, _text("ranking"), where="a.yaml", environ={})
    assert [(table.name, table.index) for table in small.tables] == [("language", 3)]
    stratum = find(StratifierConfig, _text("ranking"), where="a.yaml", environ={})
    assert (stratum.at, stratum.config.value) == ("model.stratifiers[0]", 1)
    initializer = find(InitializerConfig, "zeros", where="a.yaml", at=".", environ={}).config
    assert initializer.kind == "zeros"


def test_every_addition() -> None:
    config = _load(_text("warmstart"))
    user, post, topic = config.tables
    assert (user.data_type, user.pooling, user.optimizer_state) == ("bf16", "mean", "reset")
    assert user.vocab_columns.model_dump() == {"id": "user_id", "row": "slot", "count": "seen"}
    assert (user.pretrained.vocab, user.pretrained.cast) == ("/data/yesterday/user", True)
    assert (user.initializer.donor.id, user.initializer.seed, user.initializer.max_norm) == (17, 7, 1.0)
    assert (user.reserved.start, user.reserved.end, user.reserved.policy) == (1, 3, "zeros")
    assert user.optimizer.rowwise_adagrad.lr == 0.1
    assert (post.pretrained.by_position, post.initializer.kind) == (True, "mean_covariance")
    assert (topic.initializer.kind, topic.optimizer) == ("truncated_normal", None)


def test_the_root_comes_first() -> None:
    text = f"tables: [{TABLE}]"
    assert find(LargeEmbeddingsConfig, text, where="a.yaml", environ={}).at == "."


@pytest.mark.parametrize(
    ("written", "read"),
    [("$A", "1"), ("${A}b", "1b"), ("$B", "$B"), ("${B}", "${B}"), ("$$A", "$A"), ("a$", "a$"), ("$(A)", "$(A)")],
)
def test_variables_are_substituted_as_the_shell_does(written: str, read: str) -> None:
    config = _load(f"tables: [{TABLE[:-1]}, vocab: 'x{written}'}}]", A="1")
    assert config.tables[0].vocab == f"x{read}"


def test_one_that_is_shared_by_aliases_is_one() -> None:
    text = f"a: &a {{tables: [{TABLE}]}}\nb: *a"
    assert find(LargeEmbeddingsConfig, text, where="a.yaml", environ={}).at == "a"


def test_several_are_ambiguous() -> None:
    text = f"a: {{tables: [{TABLE}]}}\nb: [{{tables: [{TABLE}]}}]"
    with pytest.raises(
        NotFoundError, match=r"stands at 2 places \(expected one, found a, b\[0\]\)\n  try: --at a"
    ) as e:
        _load(text)
    assert e.value.kind is ErrorKind.AMBIGUOUS_CONFIG
    assert _load(text, "b[0]").tables[0].name == "user"


@pytest.mark.parametrize(
    ("text", "at", "message"),
    [
        ("a: 1\nb: 2", None, r"expected a mapping with tables, found the keys a, b\)"),
        ("", None, "found an empty file"),
        ("[1]", None, "found a list"),
        ("m: {tabels: []}", None, "try: write tables instead of m.tabels"),
        (
            f"m: {{tables: [{TABLE}]}}",
            "n",
            r"'n' is not in the file .* found what looks like one at m\)\n  try: --at m",
        ),
        ("m: {embeddings: {}}", "m.embedings", "try: --at m.embeddings"),
        ("m: {large: null}", "m.large", "'m.large' is null"),
        ("{}", "m", "'m' is not in the file"),
    ],
)
def test_no_config_there(text: str, at: str | None, message: str) -> None:
    with pytest.raises(NotFoundError, match=message) as error:
        _load(text, at)
    assert (error.value.kind, error.value.where) == (ErrorKind.NO_CONFIG_THERE, "a.yaml")


def test_a_variable_that_breaks_the_text_is_named() -> None:
    text = "tables: [{name: a, num_embeddings: ${N}, embedding_dim: 4, vocab: $DAY/a}]"
    with pytest.raises(UsageError, match="is not valid YAML") as error:
        _load(text, DAY="/data")
    assert error.value.hint == "set N in the environment: what is not set stays as it is written"
    assert _load(text, N="3").tables[0].num_embeddings == 3


def test_several_with_problems_are_listed() -> None:
    text = "a: {tables: []}\nb: {tables: 1}"
    with pytest.raises(NotFoundError) as error:
        _load(text)
    assert error.value.kind is ErrorKind.NO_CONFIG_THERE
    assert "a.tables (line 1): needs at least one item (found 0)" in str(error.value)
    assert "b.tables (line 2): expected a list (found 1)" in str(error.value)


@pytest.mark.parametrize("at", [None, "m"])
def test_every_problem_is_listed_with_its_place_and_line(at: str | None) -> None:
    text = f"m:\n  tables:\n    - {TABLE}\n    - name: x\n      num_embedings: 3\n      embedding_dim: 0\n"
    with pytest.raises(UsageError) as error:
        _load(text, at)
    assert error.value.kind is ErrorKind.BAD_CONFIG
    assert str(error.value).splitlines() == [
        "a.yaml: the LargeEmbeddingsConfig in it has 3 problems:",
        "  m.tables[1].num_embeddings (line 4): is required",
        "  m.tables[1].embedding_dim (line 6): should be greater than 0 (found 0)",
        "  m.tables[1].num_embedings (line 5): EmbeddingBagConfig has no such field; did you mean num_embeddings?",
    ]


def test_a_list_where_a_config_is_due() -> None:
    with pytest.raises(
        UsageError, match=r"\.: expected a mapping with tables, optimizer, tables_to_log \(found \[1\]\)"
    ):
        _load("[1]", ".")
