import shlex
import sys

import pytest

from himari_jax.pasting import command_line, free_name


@pytest.mark.parametrize("python", [".venv/bin/python", "python3", "/opt/my venv/bin/python"])
def test_a_command_begins_with_the_python_that_the_user_typed_and_words_survive_the_shell(monkeypatch, python):
    monkeypatch.setattr(sys, "orig_argv", [python, "-m", "train.ppo"])
    words = ["my runs/it's", "--out", "$HOME", "~", "a;b"]
    assert shlex.split(command_line("export.bundle", *words)) == [python, "-m", "export.bundle", *words]


def test_himari_is_named_as_it_was_called(monkeypatch, tmp_path):
    script = tmp_path / "my bin" / "himari"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(script), "bundle"])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shlex.split(command_line("export.server", "b")) == [str(script), "serve", "b"]
    monkeypatch.setenv("PATH", str(script.parent))
    assert command_line("export.server", "b") == "himari serve b"


def test_a_free_name_is_of_no_folder_that_exists(tmp_path):
    names = []
    for _ in range(3):
        folder = free_name(tmp_path / "base")
        folder.mkdir()
        names.append(folder.name)
    assert names == ["base", "base-2", "base-3"]
