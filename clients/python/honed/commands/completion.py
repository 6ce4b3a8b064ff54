"""`honed completion`: the script with which a shell completes `honed`."""

from enum import StrEnum
from typing import Annotated

import typer
from typer.completion import (  # type: ignore[attr-defined]  # it imports them for us
    completion_init,
    get_completion_script,
)

from honed.commands.options import new_app

__all__ = ["COMPLETE_VARIABLE", "PROGRAM", "app", "completion_init"]

PROGRAM = "honed"
COMPLETE_VARIABLE = "_HONED_COMPLETE"

app = new_app()


class Shell(StrEnum):
    """A shell that can complete."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


@app.command()
def completion(shell: Annotated[Shell, typer.Argument(help="The shell that you use.")]) -> None:
    """Print what makes a shell complete `honed`.

    Commands, options and names of models are completed.

    \b
    To install it:
      bash  echo 'eval "$(honed completion bash)"' >> ~/.bashrc
      zsh   echo 'eval "$(honed completion zsh)"' >> ~/.zshrc  (after compinit)
      fish  honed completion fish > ~/.config/fish/completions/honed.fish
    """  # noqa: D301  (\b keeps the lines apart in the help)
    script = get_completion_script(
        prog_name=PROGRAM, complete_var=COMPLETE_VARIABLE, shell=shell.value
    )
    typer.echo(script)
