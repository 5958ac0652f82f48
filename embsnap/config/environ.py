"""The variables that a config's text may use: read here alone, and only for whoever stands at the edge."""

from __future__ import annotations

import getpass
import os

__all__ = ["config_environ"]


def config_environ() -> dict[str, str]:
    """The process's environment, with `USER` set to the login name even where the environment lacks it."""
    environ = dict(os.environ)
    try:
        environ["USER"] = getpass.getuser()
    except (KeyError, OSError):
        return environ  # a user id without a name, as containers have
    return environ
