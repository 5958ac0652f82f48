"""Steps that give, take and double names: rename, drop, keep, copy, vocab."""

from __future__ import annotations

import re
from dataclasses import replace

from embsnap.config.migration_steps import CopyStep, DropStep, KeepStep, RenameStep, VocabStep
from embsnap.errors import ErrorKind, IncompatibleError, UsageError
from embsnap.formats.torchsnapshot.states import is_numbered
from embsnap.model.paths import escape
from embsnap.ops.migrate.context import Context
from embsnap.ops.migrate.draft import Draft, StateDraft, TableDraft
from embsnap.ops.migrate.opening import stored_table
from embsnap.ops.migrate.undo import Applied, Undo
from embsnap.ops.vocabulary import check_vocabulary
from embsnap.ops.vocabulary_findings import ROW_GAPS, refuse_errors

__all__ = [
    "apply_copy",
    "apply_drop",
    "apply_keep",
    "apply_rename",
    "apply_vocab",
    "as_copy",
    "check_free",
    "renamed",
]

_WEIGHT = re.compile(r"(?P<before>(?:^|.*[./])(?:embedding_bags|embeddings)\.)[^./]+(?P<after>\.weight)")


def renamed(table: TableDraft, name: str) -> TableDraft:
    """The table under another name, at the place of the old one's module."""
    match = _WEIGHT.fullmatch(table.weight_path)
    assert match is not None, "tables are found by this form"
    path = f"{match['before']}{escape(name)}{match['after']}"
    return replace(table, name=name, weight_path=path, is_changed=True)


def as_copy(table: TableDraft) -> TableDraft:
    """The table with state by the name of its parameter: the number that an optimizer of torch has is another's."""
    key = table.origin.weight.path.partition("/")[2]
    return replace(table, state=tuple(_named(state, key) for state in table.state), is_copy=True)


def _named(state: StateDraft, key: str) -> StateDraft:
    if not is_numbered(state.path):
        return state
    *above, _, name = state.path.split("/")
    return replace(state, path="/".join([*above, key, name]))


def check_free(name: str, draft: Draft, context: Context) -> None:
    """Refuse a name that another table has.

    Raises:
        UsageError: `bad-option`.
    """
    if name in draft.tables:
        raise UsageError(
            ErrorKind.BAD_OPTION,
            f"there is a table {name} already",
            where=context.where,
            expected="another name",
            hint="rename or drop the table that has it in a step before",
        )


def apply_rename(step: RenameStep, draft: Draft, context: Context) -> Applied:
    """Other names; they may be exchanged."""
    for old in step.tables:
        draft.table(old, context.where)
    after = [step.tables.get(name, name) for name in draft.tables]
    if twice := {name for name in after if after.count(name) > 1}:
        problem = f"two tables would be named {', '.join(sorted(twice))}"
        raise UsageError(ErrorKind.BAD_OPTION, problem, where=context.where, expected="a name for each table")
    tables = {}
    for name, table in draft.tables.items():
        new = step.tables.get(name, name)
        tables[new] = renamed(table, new) if new != name else table
    for old, new in step.prefix.items():
        moved = {name: _moved(table, old, new) for name, table in tables.items()}
        if moved == tables and not _lies_below(draft, old):
            problem = f"nothing lies below the prefix {old}"
            raise UsageError(ErrorKind.BAD_OPTION, problem, where=context.where, expected="APP_KEY/MODULE_PATH")
        tables = moved
    undo: dict[str, dict[str, str]] = {"tables": {new: old for old, new in step.tables.items()}} if step.tables else {}
    if step.prefix:
        undo["prefix"] = {new: old for old, new in reversed(step.prefix.items())}
    prefixes = (*draft.renamed_prefixes, *step.prefix.items())
    return Applied(replace(draft, tables=tables, renamed_prefixes=prefixes), [{"rename": undo}])


def _moved(table: TableDraft, old: str, new: str) -> TableDraft:
    if not table.weight_path.startswith(f"{old}."):
        return table
    return replace(table, weight_path=new + table.weight_path[len(old) :], is_changed=True)


def _lies_below(draft: Draft, prefix: str) -> bool:
    return any(path.startswith((f"{prefix}.", f"{prefix}/")) for path in draft.source.listing.by_path)


def apply_drop(step: DropStep, draft: Draft, context: Context) -> Applied:
    """Fewer tables."""
    for name in step.tables:
        draft.table(name, context.where)
    undo = f"the rows of {', '.join(step.tables)} are only in the snapshot that they came from"
    return Applied(draft.without(step.tables), undo)


def apply_keep(step: KeepStep, draft: Draft, context: Context) -> Applied:
    """Only these tables."""
    for name in step.tables:
        draft.table(name, context.where)
    gone = [name for name in draft.tables if name not in step.tables]
    undo: Undo = f"the rows of {', '.join(gone)} are only in the snapshot that they came from" if gone else []
    return Applied(draft.without(gone), undo)


def apply_copy(step: CopyStep, draft: Draft, context: Context) -> Applied:
    """One table more."""
    check_free(step.to, draft, context)
    if step.source is None:
        table = draft.table(step.table, context.where)
    else:
        other = context.snapshot(step.source)
        found = other.table(step.table)
        table = stored_table(other, found, found.name, context)
        table = replace(table, placement=replace(table.placement, ranks=_within(table.placement.ranks, draft)))
    copied = as_copy(renamed(table, step.to))
    if any(copied.weight_path == other.weight_path for other in draft.tables.values()):
        problem = f"something lies at {copied.weight_path} already"
        raise UsageError(ErrorKind.BAD_OPTION, problem, where=context.where, expected="another name")
    return Applied(draft.replacing(copied), [{"drop": {"tables": [step.to]}}])


def _within(ranks: tuple[int, ...], draft: Draft) -> tuple[int, ...]:
    return tuple(rank % draft.world_size for rank in ranks)


def apply_vocab(step: VocabStep, draft: Draft, context: Context) -> Applied:
    """Which entities the rows belong to."""
    table = draft.table(step.table, context.where)
    vocabulary = context.vocabulary(step.vocab, step.columns)
    findings = check_vocabulary(vocabulary, table.rows.num_rows, threads=context.threads)
    refuse_errors(finding for finding in findings if finding.kind != ROW_GAPS)
    entities = context.recorded(step.vocab, None, step.columns)
    known = context.inputs[step.vocab].split()[0]
    if table.entities is not None and table.entities.fingerprint not in (None, known):
        raise IncompatibleError(
            ErrorKind.VOCABULARY_MISMATCH,
            "the rows belong to another vocabulary",
            where=f"{context.where}, {step.vocab}",
            expected=table.entities.fingerprint,
            found=known,
            hint="leave the step out; use revocab to move the rows to another vocabulary",
        )
    entities = replace(entities, fingerprint=known, load=lambda: vocabulary, columns=step.columns)
    return Applied(draft.replacing(replace(table, entities=entities)), [])
