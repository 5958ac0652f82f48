"""Where a table's weight and optimizer state lie in a new snapshot.

Forms by torchrec: the weight at `<app key>/<module path>.embedding_bags.<table>.weight`, a state of it at
`<app key>/state/<optimizer prefix><weight key>/<state key>`, where the weight key is the weight's path without its app
key, and the state key is `<table>.momentum1` for fused optimizers or a plain name (`exp_avg`) for dense ones. State of
an optimizer of torch itself, `<app key>/state/<number>/exp_avg`, gets the weight key too.
"""

from __future__ import annotations

from embsnap.errors import ErrorKind, UsageError
from embsnap.formats.torchsnapshot.states import is_numbered
from embsnap.model.paths import escape, moved_parameter

__all__ = ["DEFAULT_PREFIX", "check_prefix", "renamed_state_path", "weight_path"]

DEFAULT_PREFIX = "model/ebc"
"""As `LargeEmbeddings` gives it under the app key `model`."""


def check_prefix(prefix: str) -> str:
    """Return `prefix` if it is an app key, a slash, and a module path (which may be empty).

    Raises:
        UsageError: It is not.
    """
    app_key, slash, module_path = prefix.partition("/")
    if not app_key or not slash or "/" in module_path:
        raise UsageError(
            ErrorKind.BAD_OPTION,
            "is no place for tables",
            where="--prefix",
            expected="APP_KEY/MODULE_PATH, such as model/ebc or model/large_embeddings.ebc",
            found=repr(prefix),
        )
    return prefix


def weight_path(prefix: str, table: str) -> str:
    """`model/ebc`, `user` → `model/ebc.embedding_bags.user.weight`, with each segment escaped."""
    app_key, _, module_path = prefix.partition("/")
    weight_key = ".".join([*([module_path] if module_path else []), "embedding_bags", table, "weight"])
    return f"{escape(app_key)}/{escape(weight_key)}"


def renamed_state_path(state_path: str, *, old_table: str, old_weight_path: str, new_table: str, prefix: str) -> str:
    """The path of an optimizer state, moved to the new table's name and module path.

    Args:
        state_path: As the manifest has it, escaped, without the rank:
            `optimizer/state/fused_opt.ebc.embedding_bags.old.weight/old.momentum1`.
        old_table: `old`.
        old_weight_path: `model/ebc.embedding_bags.old.weight`.
        new_table: `new`.
        prefix: `model/ebc`.
    """
    head, _, state_key = state_path.rpartition("/")
    head, _, parameter = head.rpartition("/")
    old_weight_key = old_weight_path.partition("/")[2]
    new_weight_key = weight_path(prefix, new_table).partition("/")[2]
    if is_numbered(state_path):
        parameter = new_weight_key
    else:
        parameter = moved_parameter(parameter, old_weight_key, new_weight_key)
    if state_key.startswith(f"{escape(old_table)}."):
        state_key = f"{escape(new_table)}.{state_key[len(escape(old_table)) + 1 :]}"
    return f"{head}/{parameter}/{state_key}"
