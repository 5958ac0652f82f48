"""Shell completion: what click offers, and the names of files where it has nothing to offer."""

from __future__ import annotations

from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    shell_complete,
)

from embsnap.cli.group import group

__all__ = ["complete"]


class _Files(ShellComplete):
    """Every path is a URI, and so text to click, which has nothing to offer for text."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        found = super().get_completions(args, incomplete)
        return found if found or incomplete.startswith("-") else [CompletionItem(incomplete, type="file")]


class _Bash(_Files, BashComplete):
    pass


class _Zsh(_Files, ZshComplete):
    pass


class _Fish(_Files, FishComplete):
    pass


def complete(instruction: str) -> int:
    """Answer a shell.

    Args:
        instruction: `bash_source` for the script that it evaluates, `bash_complete` for what it offers; likewise for
            zsh and fish.

    Returns:
        The exit code.
    """
    for shell in (_Bash, _Zsh, _Fish):
        add_completion_class(shell)
    return shell_complete(group, {}, "embsnap", "_EMBSNAP_COMPLETE", instruction)
