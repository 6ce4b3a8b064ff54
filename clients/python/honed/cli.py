"""The `honed` command: a lazy table of sub-commands, and one place where errors become exit codes.

Each sub-command lives in its own module under `honed.commands` and is imported when it is called,
so none pays for, or fails over, what another one needs.
"""

import os
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from honed import HonedError, InvalidRequest, __version__
from honed.client import DEFAULT_TARGET, DEFAULT_TIMEOUT_S
from honed.commands.completion import COMPLETE_VARIABLE, PROGRAM, completion_init
from honed.commands.failure import complain, exit_code
from honed.commands.options import Address, new_app
from honed.commands.output import printable

# In the order of `honed --help`, which imports none of them. The module of a command has its name.
COMMANDS = {
    "serve": "Start a server here; `honed serve --help` lists its options.",
    "predict": "Classify texts with a model.",
    "feedback": "Submit, list, delete, import and review labels.",
    "anchor": "Import trusted labels that guard learning.",
    "models": "Create, look at, pause, resume and delete models.",
    "versions": "List the versions of a model.",
    "train": "Fine-tune here, on a file of labels: a report and a folder.",
    "rounds": "List, start and cancel fine-tuning rounds.",
    "policy": "Show or set what promotes candidates, and when rounds start.",
    "promote": "Make a version serve, over the gate and on the record.",
    "rollback": "Serve an earlier version, and pause learning.",
    "replay": "Compute an old answer anew, and compare.",
    "explain": "Show which labels and which words most move an answer.",
    "export": "Write a model as a folder that transformers loads.",
    "status": "Show what the server serves, and how far learning is.",
    "top": "Watch traffic, latency and learning live.",
    "bench": "Put load on a server and measure what its callers feel.",
    "config": "Look at the settings of a server.",
    "completion": "Print what makes a shell complete `honed`.",
}


class _LazyCommands(Mapping[str, Any]):
    """Imports the module of a sub-command when the command is looked up."""

    def __getitem__(self, name: str) -> Any:
        if name not in COMMANDS:
            raise KeyError(name)
        return get_command(import_module(f"honed.commands.{name}").app)

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class _HonedGroup(TyperGroup):
    """The root command."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands: Any = _LazyCommands()

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Lists the sub-commands for `--help`."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: Any) -> Any:
        """Runs a sub-command; an error becomes one line and an exit code, not a traceback."""
        try:
            return super().invoke(ctx)
        except UnicodeEncodeError as error:
            refusal = InvalidRequest("the text is not valid UTF-8", "NOT_UTF8", "INVALID_ARGUMENT")
            raise _exit_with(refusal) from error
        except BrokenPipeError:
            raise  # whoever read the output has left, which is no error
        except (HonedError, OSError) as error:
            raise _exit_with(error) from error
        except KeyboardInterrupt as stop:
            typer.echo(printable(f"honed: {str(stop) or 'interrupted'}"), err=True)
            raise typer.Exit(130) from stop


def _exit_with(error: HonedError | OSError) -> typer.Exit:
    complain(error)
    return typer.Exit(exit_code(error))


app = new_app(cls=_HonedGroup, no_args_is_help=True)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"honed {__version__}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    target: Annotated[
        str, typer.Option(envvar="HONED_TARGET", help="Address of the server.", metavar="HOST:PORT")
    ] = DEFAULT_TARGET,
    timeout_s: Annotated[
        float, typer.Option(min=0.001, help="Deadline of each call, in seconds.")
    ] = DEFAULT_TIMEOUT_S,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Honed: an inference server that gets sharper while it serves.

    \b
    Exit codes:
      0  it worked
      1  the server failed, or another error (a row of an import was refused, a replay differs)
      2  wrong usage or invalid request
      3  no such model, version or feedback
      4  conflict with what the server holds
      5  overloaded, unreachable, or no answer in time
      130  interrupted (Ctrl-C)
    """  # noqa: D301  (\b keeps the lines apart in the help)
    ctx.obj = Address(target, timeout_s)


def main() -> None:
    """Entry point of the console script, and of the shell when it completes a command."""
    if COMPLETE_VARIABLE in os.environ:
        completion_init()
    app(prog_name=PROGRAM)
