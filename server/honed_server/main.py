"""`honed serve`: read the settings, start, say how to use it, stop cleanly on SIGTERM."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from honed_server.config import ConfigError, ServerConfig, load_config
from honed_server.heap import limit_arenas
from honed_server.logs import configure_logs

if TYPE_CHECKING:
    from honed_server.app import Server

_USAGE_ERROR = 2


def run(argv: Sequence[str], prepare: Callable[["Server"], None] = lambda _: None) -> int:
    """Runs a server until SIGTERM or SIGINT; returns the exit code.

    Args:
        argv: Flags, without the command's own name.
        prepare: Gets the server before it is announced; for measurements of parts of it.
    """
    # Before NumPy is imported: the engine's threads each use one core, and more would only fight.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Else gRPC's core writes lines of its own form into the log; its errors reach us as exceptions.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    limit_arenas()
    from honed_server.home import StartError

    try:
        config = load_config(argv, os.environ)
        configure_logs(config.log_format)
        return asyncio.run(_serve(config, prepare))
    except (ConfigError, StartError) as error:
        print(f"honed serve: {error}", file=sys.stderr)  # noqa: T201 - the command's own output
        return _USAGE_ERROR


async def _serve(config: ServerConfig, prepare: Callable[["Server"], None]) -> int:
    from honed_server.app import Server

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    server = await Server.start(config, on_crash=stop.set)
    prepare(server)
    print(_welcome(server), flush=True)  # noqa: T201 - the command's own output
    await stop.wait()
    await server.close()
    return 1 if server.crashed else 0


def _welcome(server: "Server") -> str:
    honed = shutil.which("honed") or f"{sys.executable.rpartition('/')[0]}/honed"
    target = "" if server.port == 8790 else f"--target 127.0.0.1:{server.port} "
    return (
        f"Honed is ready: gRPC on 127.0.0.1:{server.port}, "
        f"metrics and health on http://127.0.0.1:{server.http_port}\n"
        "In a second terminal, ask it and correct it:\n"
        f'  {honed} {target}predict support "the package never showed up"\n'
        f'  {honed} {target}feedback submit support --text "do I earn bonus points on this order" '
        "--label loyalty_points --wait"
    )


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
