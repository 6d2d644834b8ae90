"""`posgen` as a user types it, in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import typer
from typer.testing import CliRunner

from cli.main import main


def run(*arguments: str) -> int:
    """The exit status of `posgen ARGUMENTS`."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    return int(stopped.value.code or 0)


def output(commands: Mapping[str, Callable[..., None]], *words: str) -> str:
    """The output of one of some commands. A user's mistake stays the exception that cli.main turns into a line and
    status 2."""
    app = typer.Typer()
    for name, command in commands.items():
        app.command(name)(command)
    result = CliRunner().invoke(app, words)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output
