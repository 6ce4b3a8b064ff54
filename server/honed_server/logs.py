"""Structured logs on standard error: JSON for machines, colours for people; never any text."""

import logging
import sys
from typing import Literal

import structlog


def configure_logs(style: Literal["auto", "console", "json"]) -> None:
    """Sets the process's logging up; called once by each process's entry point."""
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    rendering = _for_people() if console else _for_machines()
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # What libraries log (grpc, asyncio, warnings) comes out in the same form.
    handler = logging.StreamHandler(sys.stderr)
    only = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[only, *rendering])
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(True)


def _for_people() -> list[structlog.typing.Processor]:
    # The default would print local variables beside a traceback, and those hold texts.
    return [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]


def _for_machines() -> list[structlog.typing.Processor]:
    # So would this one's.
    frames = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return [
        structlog.processors.ExceptionRenderer(frames),
        structlog.processors.JSONRenderer(),
    ]
