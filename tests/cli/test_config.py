from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from embsnap.cli.main import main
from embsnap.config.environ import config_environ

CONFIGS = Path(__file__).parents[1] / "data" / "configs"
TABLE = "{name: user, num_embeddings: 10, embedding_dim: 4}"


def _write(directory: Path, text: str) -> str:
    path = directory / "a.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_validate_shows_what_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    uri = str(CONFIGS / "warmstart.yaml")
    assert main(["config", "validate", uri]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"valid: 3 tables in {uri}"
    rows = {" ".join(line.split()) for line in lines}
    optimizer = "rowwise_adagrad(lr=0.1, eps=1e-08)"
    user = f"user 1,000 16 bf16 mean {optimizer} reset donor(id=17) seed 7 max_norm 1 1:3 zeros"
    assert user in rows
    assert "topic 20 4 - sum - carry truncated_normal(mean=0.0, std=1/sqrt(4)) seed 0 -" in rows
    assert "user user /runs/42@latest /data/yesterday/user /data/today/user" in rows
    assert "post item /runs/42@7 position -" in rows
    assert "topic - - - -" in rows
    assert lines[-1] == "logged: user"


def test_validate_names_the_place(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "validate", str(CONFIGS / "graph.yaml"), "--at", "model.embeddings"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("valid: 2 tables in model.embeddings of ")
    assert "uniform(bound=1/sqrt(424241)) seed 0" in out


def test_validate_as_json(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TENANT", raising=False)
    assert main(["config", "validate", str(CONFIGS / "ranking.yaml"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["schema"], result["version"], result["at"]) == ("embsnap.config", 1, "model.large_embeddings")
    author = result["tables"][0]
    assert (author["name"], author["num_embeddings"], author["data_type"]) == ("author", 1000, None)
    assert author["pretrained"]["uri"] == f"/runs/{config_environ()['USER']}/latest"
    assert author["optimizer"] == "sgd(lr=0.01, momentum=0.0), piecewise_constant"
    assert [(finding["kind"], finding["place"]) for finding in result["findings"]] == [
        ("unset-variable", "author.vocab"),
        ("unset-variable", "author.pretrained.vocab"),
    ]


def test_variables_come_from_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENANT", "acme")
    assert main(["config", "validate", str(CONFIGS / "ranking.yaml")]) == 0
    out = capsys.readouterr().out
    assert "/data/acme/vocab/author" in out
    assert "unset-variable" not in out


def test_a_dollar_that_was_written_twice_is_no_variable(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("TENANT", raising=False)
    file = tmp_path / "job.yaml"
    file.write_text("tables: [{name: a, num_embeddings: 1, embedding_dim: 4, vocab: $$HOME/$$TENANT}]")
    assert main(["config", "validate", str(file)]) == 0
    assert "unset-variable" not in capsys.readouterr().out


def test_user_is_known_without_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: ("login",))
    assert config_environ()["USER"] == "login"


def test_a_user_without_a_name_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(uid: int) -> None:
        raise KeyError(uid)

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", nobody)
    assert "USER" not in config_environ()


@pytest.mark.parametrize(
    ("text", "arguments", "exit_code", "message"),
    [
        (f"tables: [{TABLE}, {TABLE}]", [], 2, "each table needs a name of its own (found twice: user)"),
        (
            "tables: [{nam: 1}]",
            [],
            2,
            "tables[0].nam (line 1): EmbeddingBagConfig has no such field; did you mean name?",
        ),
        ("a: [", [], 2, "is not valid YAML"),
        ("a: 1", [], 3, "no LargeEmbeddingsConfig stands in it"),
        (f"a: {{tables: [{TABLE}]}}\nb: {{tables: [{TABLE}]}}", [], 3, "found a, b"),
        ("a: null", ["--at", "a"], 3, "'a' is null"),
        ('"a\\e[2Jb": 1', [], 3, r"'a\x1b[2Jb'"),
    ],
)
def test_problems_have_exit_codes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, arguments: list[str], exit_code: int, message: str
) -> None:
    assert main(["config", "validate", _write(tmp_path, text), *arguments]) == exit_code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err


def test_no_such_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "validate", str(tmp_path / "none.yaml")]) == 3
    assert "none.yaml" in capsys.readouterr().err


def test_not_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"tables: \xff")
    assert main(["config", "validate", str(path)]) == 2
    assert "is not UTF-8 text (found byte 0xff at 8)" in capsys.readouterr().err


def test_a_link_to_a_file_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "b.yaml").symlink_to(_write(tmp_path, f"tables: [{TABLE}]"))
    assert main(["config", "validate", str(tmp_path / "links" / "b.yaml")]) == 0
    assert "valid: 1 table in" in capsys.readouterr().out


def test_a_relative_path_and_a_byte_order_mark(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path, f"\ufefftables: [{TABLE}]")
    monkeypatch.chdir(tmp_path)
    assert main(["config", "validate", "a.yaml"]) == 0
    assert "valid: 1 table in a.yaml" in capsys.readouterr().out


def test_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "schema"]) == 0
    assert json.loads(capsys.readouterr().out)["$ref"] == "#/$defs/LargeEmbeddingsConfig"


def test_help_loads_no_pydantic() -> None:
    code = (
        "import sys; from embsnap.cli.main import main; main(['config', 'validate', '--help'])\n"
        "print(sorted({'pydantic', 'yaml', 'numpy', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout.splitlines()[-1] == "[]"
