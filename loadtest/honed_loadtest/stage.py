"""The stage of a scenario: a server, started for it or running already, and what it is asked."""

import shlex
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from honed import Client
from honed_loadtest import datasets
from honed_loadtest.datasets import DataMissing, Example
from honed_loadtest.errors import BenchError
from honed_loadtest.load import Job, Question, run_load
from honed_loadtest.options import Options
from honed_loadtest.profile import ClosedLoop, OpenLoop, Profile, parsed
from honed_loadtest.search import Probe
from honed_loadtest.server import ServerProcess
from honed_loadtest.servers import EXAMPLE, MODEL, Servers

_PEAK_CONCURRENCY = 32
_PEAK_S = 5.0
_TIMEOUT_S = 10.0


@dataclass(slots=True)
class Stage:
    """What the arms of a scenario act on.

    Attributes:
        name: Of the server, as results show it.
        target: Its address.
        options: What was asked for.
        models: Models to ask.
        texts: What to ask them.
        labels: What may be submitted to them.
        server: The server if it was started for the run.
        resources: Closed with the stage.
        own_peak_per_s: Answers a second of a closed loop that keeps the server as busy as it gets;
            None until it is needed.
        rivals: Other stages that must be offered the same load.
        probes: What a search for the highest rate tried.
    """

    name: str
    target: str
    options: Options
    models: Sequence[str]
    texts: Sequence[str]
    labels: Sequence[Example]
    server: ServerProcess | None
    resources: ExitStack
    own_peak_per_s: float | None = None
    rivals: Sequence["Stage"] = ()
    probes: Sequence[Probe] = ()

    def client(self) -> Client:
        """A client for everything but load; closed with the stage."""
        return self.resources.enter_context(Client(self.target, timeout_s=60))

    def job(self, profile: Profile, questions: Sequence[Question] = ()) -> Job:
        """The job of asking the first model the texts, or other questions."""
        options = self.options
        return Job(
            target=self.target,
            questions=questions or [(self.models[0], text) for text in self.texts],
            profile=profile,
            warm_s=options.warm_s,
            timeout_s=options.timeout_s or _TIMEOUT_S,
            seed=options.seed,
            processes=options.processes,
        )

    @property
    def peak_per_s(self) -> float:
        """The peak of this server, or of the weakest rival."""
        return min(stage.measured_peak() for stage in (self, *self.rivals))

    def measured_peak(self) -> float:
        """The peak of this server: the one that was given, or measured when first asked for."""
        if self.own_peak_per_s is None:
            self.own_peak_per_s = self.options.peak_per_s
        if self.own_peak_per_s is None:
            profile = ClosedLoop(_PEAK_CONCURRENCY, min(self.options.seconds, _PEAK_S))
            self.own_peak_per_s = run_load(self.job(profile)).per_s
        return self.own_peak_per_s

    @property
    def rate_per_s(self) -> float:
        """The rate that was asked for, or the share of the peak."""
        return self.options.rate_per_s or self.options.load_share * self.peak_per_s

    def profile(self) -> Profile:
        """The open loop that was asked for."""
        options = self.options
        if options.shape:
            return parsed(options.shape, options.seconds, options.speed)
        return OpenLoop.steady(self.rate_per_s, options.seconds)


@contextmanager
def open_stage(options: Options, servers: Servers, *flags: str) -> Iterator[Stage]:
    """Starts a server that has learned, or goes to the one that runs.

    Args:
        options: What was asked for.
        servers: Makes one if none is running.
        flags: Settings that the scenario needs of a server that is started.

    Raises:
        HonedError: A running server is not there, or lacks a model.
        BenchError: What to ask a running server was not named, or a file cannot be read.
    """
    with ExitStack() as resources:
        if options.target is not None:
            yield _running(options, options.target, resources)
        else:
            yield _started(options, servers, flags, resources)


def _running(options: Options, target: str, resources: ExitStack) -> Stage:
    if not options.models or options.texts is None:
        raise BenchError("a running server needs to be told what to ask: --model and --texts")
    with Client(target) as client:
        for model in options.models:
            client.get_model(model)
    labels = datasets.read_examples(Path(options.labels)) if options.labels else []
    texts = datasets.read_texts(Path(options.texts))
    return Stage(target, target, options, options.models, texts, labels, None, resources)


def _started(
    options: Options, servers: Servers, needed: tuple[str, ...], resources: ExitStack
) -> Stage:
    flags = (*needed, *shlex.split(options.server_flags))
    try:
        labels: Sequence[Example] = servers.labels
        server, model = resources.enter_context(servers.learned(*flags, precision="int8")), MODEL
    except DataMissing:
        server, model = resources.enter_context(servers.example(*flags)), EXAMPLE
        labels = _learned_by(server, model)
    texts = (
        datasets.read_texts(Path(options.texts)) if options.texts else [text for text, _ in labels]
    )
    name = " ".join(["own server", *flags])
    return Stage(name, server.target, options, [model], texts, labels, server, resources)


def _learned_by(server: ServerProcess, model: str) -> list[Example]:
    with server.client() as client:
        return [(entry.text, entry.label) for entry in client.list_feedback(model)]
