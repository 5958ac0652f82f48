"""`main` owns the exit codes, and says on stderr what went wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import click
import pytest

from embsnap import __version__, errors
from embsnap.cli.group import COMMANDS, LazyGroup
from embsnap.errors import EmbsnapError, ErrorKind, NotFoundError


@pytest.fixture
def failing(monkeypatch):
    """Adds a command `fail` that raises what it is given."""

    def install(error):
        @click.command("fail")
        @click.option("--json", "as_json", is_flag=True)
        @click.option("--number", type=int)
        def command(as_json, number):
            raise error

        monkeypatch.setattr(LazyGroup, "get_command", lambda self, context, name: command)

    return install


def test_version(embsnap):
    run = embsnap("--version")
    assert (run.exit_code, run.stdout) == (0, f"embsnap, version {__version__}\n")


def test_help_lists_every_command(embsnap):
    run = embsnap("--help")
    assert run.exit_code == 0
    for name in COMMANDS:
        assert f"\n  {name} " in run.stdout


def test_without_arguments_it_prints_its_help_to_stderr_and_exits_2(embsnap):
    run = embsnap()
    assert (run.exit_code, run.stdout) == (2, "")
    assert "Commands:" in run.stderr


@pytest.mark.parametrize("arguments", [("nope",), ("doctor", "--nope"), ("doctor", "surplus"), ("--nope",)])
def test_a_wrong_call_exits_2_and_names_what_is_wrong(embsnap, arguments):
    run = embsnap(*arguments)
    assert (run.exit_code, run.stdout) == (2, "")
    assert arguments[-1] in run.stderr
    assert "--help" in run.stderr


@pytest.mark.parametrize(
    "error_type", [getattr(errors, name) for name in errors.__all__ if name not in ("EmbsnapError", "ErrorKind")]
)
def test_each_error_exits_with_its_own_code(embsnap, failing, error_type):
    failing(error_type(ErrorKind.BAD_OPTION, "it cannot be", where="there", hint="that"))
    run = embsnap("fail")
    assert run.exit_code == error_type.exit_code
    assert run.stderr == "embsnap: there: it cannot be\n  try: that\n"


def test_with_json_the_error_is_json_on_stderr(embsnap, failing):
    failing(NotFoundError(ErrorKind.NO_SUCH_TABLE, "no such table", where="mem://x", expected="user", found="usr"))
    run = embsnap("fail", "--json")
    assert run.stdout == ""
    document = json.loads(run.stderr)
    assert list(document)[:4] == ["schema", "version", "exit_code", "kind"]
    assert document["schema"] == "embsnap.error"
    assert document["kind"] == "no-such-table"
    assert (document["where"], document["expected"], document["found"], document["hint"]) == (
        "mem://x",
        "user",
        "usr",
        None,
    )


def test_a_wrong_call_with_json_is_json_too(embsnap, failing):
    failing(RuntimeError())
    document = json.loads(embsnap("fail", "--json", "--number", "x").stderr)
    assert (document["exit_code"], document["kind"]) == (2, "bad-option")


@pytest.mark.parametrize(
    ("call", "told"),
    [(("inpsect", "x"), "did you mean inspect?"), (("vocab", "dif"), "did you mean diff?"), (("zz",), "zz")],
)
def test_a_command_that_there_is_not_is_a_wrong_call_and_near_names_are_told(embsnap, call, told):
    run = embsnap(*call)
    assert run.exit_code == 2
    assert told in run.stderr
    assert run.stdout == ""


def test_a_bug_exits_70_and_says_how_to_see_more(embsnap, failing):
    failing(KeyError("row"))
    run = embsnap("fail")
    assert run.exit_code == 70
    assert "bug" in run.stderr
    assert "KeyError: 'row'" in run.stderr
    assert "Traceback" not in run.stderr
    assert "Traceback" in embsnap("--traceback", "fail").stderr


def test_names_in_an_error_cannot_drive_the_terminal(embsnap, failing):
    failing(NotFoundError(ErrorKind.NO_SUCH_TABLE, "no \x1b[31mtable", where="a\nb\u202e", found="\x9b2J"))
    run = embsnap("fail")
    assert run.stderr == "embsnap: a\\nb\\u202e: no \\x1b[31mtable (found \\x9b2J)\n"


@pytest.mark.parametrize(("error", "exit_code"), [(KeyboardInterrupt(), 130), (click.Abort(), 130)])
def test_an_interruption(embsnap, failing, error, exit_code):
    failing(error)
    run = embsnap("fail")
    assert (run.exit_code, run.stderr) == (exit_code, "embsnap: interrupted\n")


def test_a_command_may_return_its_exit_code_or_leave_with_it(embsnap, monkeypatch):
    commands = {
        "returns": click.Command("returns", callback=lambda: 1),
        "leaves": click.Command("leaves", callback=lambda: click.get_current_context().exit(4)),
        "ends": click.Command("ends", callback=lambda: None),
    }
    monkeypatch.setattr(LazyGroup, "get_command", lambda self, context, name: commands[name])
    assert [embsnap(name).exit_code for name in commands] == [1, 4, 0]


_WAITING = """
import sys, time, click
from embsnap.cli.group import LazyGroup
from embsnap.cli.main import main

@click.command()
def wait():
    try:
        print("waiting", flush=True)
        time.sleep(60)
    finally:
        print("cleaned up", flush=True)

LazyGroup.get_command = lambda self, context, name: wait
sys.exit(main(["wait"]))
"""


@pytest.mark.parametrize(
    ("signum", "exit_code", "word"), [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")]
)
def test_a_signal_lets_clean_up_run(signum, exit_code, word):
    process = subprocess.Popen(
        [sys.executable, "-c", _WAITING], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signum)
    stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout, stderr) == (exit_code, "cleaned up\n", f"embsnap: {word}\n")


_CHATTY = """
import sys, click
from embsnap.cli.group import LazyGroup
from embsnap.__main__ import run

@click.command()
def chat():
    for _ in range(100_000):
        click.echo("word " * 20)

LazyGroup.get_command = lambda self, context, name: chat
sys.argv[1:] = ["chat"]
sys.exit(run())
"""


def test_a_closed_pipe_is_left_quietly():
    process = subprocess.Popen(
        [sys.executable, "-c", _CHATTY], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == ""
    assert process.wait(timeout=30) == 141


def test_a_reader_that_went_away_before_the_first_line():
    read, write = os.pipe()
    os.close(read)
    run = subprocess.run([sys.executable, "-m", "embsnap", "--help"], stdout=write, stderr=subprocess.PIPE, timeout=60)
    os.close(write)
    assert (run.returncode, run.stderr) == (141, b"")


_LEAVING = """
import sys, click
from embsnap.cli.group import LazyGroup
from embsnap.__main__ import run

@click.command()
@click.pass_context
def leave(context):
    sys.stdout.write("an answer")
    context.exit(1)

LazyGroup.get_command = lambda self, context, name: leave
sys.argv[1:] = ["leave"]
sys.exit(run())
"""


def test_a_reader_that_went_away_from_a_command_that_leaves_with_a_code():
    read, write = os.pipe()
    os.close(read)
    run = subprocess.run([sys.executable, "-c", _LEAVING], stdout=write, stderr=subprocess.PIPE, timeout=60)
    os.close(write)
    assert (run.returncode, run.stderr) == (141, b"")


def test_a_name_that_the_terminal_cannot_write_is_escaped():
    program = _LEAVING.replace("an answer", "\u8868")
    variables = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "1"}
    run = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, timeout=60)
    assert (run.returncode, run.stdout, run.stderr) == (1, b"\\u8868", b"")


@pytest.mark.parametrize("registered", ["pass", "atexit.register(print, 'last words')"])
def test_the_process_ends_with_what_was_registered_and_its_code(registered):
    program = _LEAVING.replace('sys.stdout.write("an answer")', f"import atexit; {registered}; print('an answer')")
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    words = "an answer\n" + ("last words\n" if registered != "pass" else "")
    assert (run.returncode, run.stdout, run.stderr) == (1, words, "")


def test_a_full_disk_behind_stdout_is_no_bug():
    with open("/dev/full", "w") as full:
        run = subprocess.run([sys.executable, "-m", "embsnap", "--version"], stdout=full, stderr=subprocess.PIPE)
    assert run.returncode == 6
    assert run.stderr.startswith(b"embsnap: standard output: no room to write")


def test_a_closed_stdout_is_nobody_s_business():
    run = subprocess.run(f"{sys.executable} -m embsnap --version >&-", shell=True, stderr=subprocess.PIPE, timeout=60)
    assert (run.returncode, run.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("embsnap d", ["plain,demo", "plain,diff", "plain,doctor"]),
        ("embsnap pool --oov r", ["plain,row"]),
        ("embsnap pool --oo", ["plain,--oov"]),
        ("embsnap pool --nothing-of-the-sort", []),
        ("embsnap warmstart day2.y", ["file,day2.y"]),
        ("embsnap warmstart day2.yaml --out runs/d", ["file,runs/d"]),
    ],
)
def test_completion_offers_commands_options_and_files(words, offered):
    place = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    variables = {**os.environ, "_EMBSNAP_COMPLETE": "bash_complete", **place}
    run = subprocess.run([sys.executable, "-m", "embsnap"], env=variables, capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout.split()) == (0, offered)


def test_the_command_line_starts_fast():
    """Imports of the command line itself; a machine under load gets five tries at 0.25 s."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "embsnap", "--version"], check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.25


def test_an_error_is_a_bug_unless_it_has_a_code():
    assert EmbsnapError.exit_code == 70
