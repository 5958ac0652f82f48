"""What is in a config, once it is known to be valid."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from embsnap.config.base import BaseConfig
from embsnap.config.embedding import EmbeddingBagConfig, LargeEmbeddingsConfig
from embsnap.config.load import find, unset_variables
from embsnap.config.optimizer import OptimizerConfig
from embsnap.model.config_summary import ConfigSummary, OldTable, TableSummary
from embsnap.model.findings import Finding, Severity
from embsnap.ops.config import read_config_text

__all__ = ["validate_config"]

_VARIABLE = re.compile(r"\$\{?(\w+)\}?", re.ASCII)


def validate_config(
    uri: str, *, at: str | None, environ: Mapping[str, str], options: Mapping[str, str] | None = None
) -> ConfigSummary:
    """Read and check the config in a file, and sum up what is in it.

    Args:
        uri: Of the YAML file.
        at: Place of the config in the file; found by itself if None, see `embsnap.config.load.find`.
        environ: Values of the variables in the text.
        options: Settings of the storage client.

    Raises:
        UsageError: `bad-config`, with every problem and its place.
        NotFoundError: `no-such-object`, `no-config-there` or `ambiguous-config`.
        StorageError: The file could not be read.
    """
    text = read_config_text(uri, options=options)
    located = find(LargeEmbeddingsConfig, text, where=uri, at=at, environ=environ)
    config = located.config
    return ConfigSummary(
        uri=uri,
        at=located.at,
        tables=tuple(_summary(table, config.optimizer_of(table.name)) for table in config.tables),
        tables_to_log=config.logged_tables(),
        findings=tuple(_unresolved(config, frozenset(unset_variables(text, environ)))),
    )


def _summary(table: EmbeddingBagConfig, optimizer: OptimizerConfig | None) -> TableSummary:
    reserved = table.reserved
    return TableSummary(
        name=table.name,
        num_embeddings=table.num_embeddings,
        embedding_dim=table.embedding_dim,
        data_type=table.data_type and table.data_type.value,
        pooling=table.pooling.value,
        optimizer=None if optimizer is None else _optimizer_in_words(optimizer),
        optimizer_state=table.optimizer_state.value,
        initializer=_initializer_in_words(table),
        reserved=None if reserved is None else f"{reserved.rows} {reserved.policy.value}",
        vocab=table.vocab,
        pretrained=_old_table(table),
    )


def _old_table(table: EmbeddingBagConfig) -> OldTable | None:
    old = table.pretrained
    if old is None:
        return None
    return OldTable(old.emb_name, old.embedding_snapshot_uri, old.vocab, old.by_position, old.cast)


def _optimizer_in_words(optimizer: OptimizerConfig) -> str:
    schedule = f", {optimizer.learning_rate.kind}" if optimizer.learning_rate else ""
    return f"{optimizer.kind}({_parameters(optimizer.algorithm)}){schedule}"


def _initializer_in_words(table: EmbeddingBagConfig) -> str:
    """What decides the values of new rows, e.g. `uniform(bound=0.001) seed 0`."""
    initializer = table.initializer_or_default
    parameters = _parameters(initializer.init)
    if initializer.uniform is not None and initializer.uniform.bound is None:
        parameters = f"bound=1/sqrt({table.num_embeddings})"
    if initializer.truncated_normal is not None and initializer.truncated_normal.std is None:
        parameters += f", std=1/sqrt({table.embedding_dim})"
    clip = "" if initializer.max_norm is None else f" max_norm {initializer.max_norm:g}"
    return f"{initializer.kind}{f'({parameters})' if parameters else ''} seed {initializer.seed}{clip}"


def _parameters(config: BaseConfig) -> str:
    values = config.model_dump(exclude_none=True)
    return ", ".join(f"{name}={value}" for name, value in values.items())


def _unresolved(config: LargeEmbeddingsConfig, unset: frozenset[str]) -> Iterator[Finding]:
    for table in config.tables:
        old = table.pretrained
        uris = {
            "vocab": table.vocab,
            "pretrained.vocab": old and old.vocab,
            "pretrained.embedding_snapshot_uri": old and old.embedding_snapshot_uri,
        }
        for field, uri in uris.items():
            variables = [match[0] for match in _VARIABLE.finditer(uri or "") if match[1] in unset]
            if variables:
                yield Finding(
                    Severity.WARNING,
                    "unset-variable",
                    f"{table.name}.{field}",
                    f"{', '.join(variables)} is not set, and stays in the URI as it is: {uri}",
                    "set the variable, or write $$ for a dollar sign",
                )
