"""Plans as files: YAML that is checked, or a Python script that builds one."""

from __future__ import annotations

import os
import runpy
from collections.abc import Mapping

from embsnap.config.load import parse
from embsnap.config.migration import MigrationConfig
from embsnap.errors import EmbsnapError, ErrorKind, NotFoundError, UsageError
from embsnap.ops.config import read_config_text
from embsnap.ops.migrate.builder import Migration, migration
from embsnap.ops.migrate.plan import MigrationOptions

__all__ = ["read_plan"]


def read_plan(
    uri: str, source: str, options: MigrationOptions, *, at: str | None = None, environ: Mapping[str, str]
) -> Migration:
    """The migration of `source` that a file describes.

    Args:
        uri: A YAML file with `steps`, or a local Python file that defines `migrate(migration)`, which gets a migration
            without steps and returns one with them. A script is run as it stands: run only your own.
        source: URI of the snapshot to migrate.
        options: Of the migration.
        at: Where in the YAML the plan stands.
        environ: For `${NAME}` in the YAML.

    Raises:
        UsageError: `bad-config`: the YAML is wrong, or the script fails or returns something else.
        NotFoundError: There is no such file, or no plan in it.
    """
    begun = migration(source, options=options)
    if not uri.endswith(".py"):
        text = read_config_text(uri, options=options.storage_options)
        return begun.extend(parse(MigrationConfig, text, where=uri, at=at, environ=environ))
    if not os.path.isfile(uri):
        expected = "a Python file on this machine"
        raise NotFoundError(ErrorKind.NO_SUCH_OBJECT, "there is no such script", where=uri, expected=expected)
    try:
        function = runpy.run_path(uri).get("migrate")
        built = function(begun) if callable(function) else None
    except EmbsnapError:
        raise
    except Exception as error:  # whatever a script may raise
        problem = f"the script failed: {type(error).__name__}: {error}"
        raise UsageError(ErrorKind.BAD_CONFIG, problem, where=uri) from error
    if not isinstance(built, Migration):
        raise UsageError(
            ErrorKind.BAD_CONFIG,
            "is no script of a migration",
            where=uri,
            expected="def migrate(migration), which returns the migration with its steps",
            found="no such function" if not callable(function) else f"a {type(built).__name__}",
        )
    return built
