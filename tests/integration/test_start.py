"""What keeps a server from starting is said in one line; what is damaged is named."""

import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from journeys import caught_up, teach, wait_for
from swap_oracle import make_encoder

from harness import RunningServer, ServerProcess, running
from honed import Client, HonedError
from honed_server.home import StartError

pytestmark = pytest.mark.timeout(120)

LABELS = [("swap", "no"), ("word", "yes")]


def refused(*flags: str, **environment: str) -> str:
    """The one line with which `honed serve` refuses to start, exit code 2."""
    run = subprocess.run(
        [sys.executable, "-m", "honed_server.main", *flags],
        capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert (run.returncode, run.stdout) == (2, ""), run.stderr
    *logged, line = run.stderr.splitlines()
    assert all(before.startswith("{") for before in logged), run.stderr
    assert line.startswith("honed serve: ")
    return line


@pytest.mark.parametrize(
    ("flags", "environment", "says"),
    [
        (["--prot", "1"], {}, "did you mean 'port'?"),
        (["surprise"], {}, "unexpected argument 'surprise'"),
        (["--port"], {}, "expected one argument"),
        (["--workers", "0"], {}, "workers: Input should be greater than or equal to 1"),
        (["--config", "/"], {}, "/ cannot be read: Is a directory"),
        ([], {"HONED_MAX_BATCH_TOKEN": "5"}, "did you mean 'max_batch_tokens'?"),
        (["--host", "0.0.0.0"], {}, "only loopback addresses are allowed"),
    ],
)
def test_a_bad_setting_is_named_in_one_line(flags, environment, says):
    assert says in refused(*flags, **environment)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny encoder to start with."""
    folder = tmp_path_factory.mktemp("encoder")
    make_encoder(folder / "elsewhere", folder, 0)
    return folder / "encoder-0"


def test_a_home_that_is_no_folder_is_named(tmp_path):
    home = tmp_path / "home"
    home.write_text("in the way")
    assert f"the data folder {home} cannot be used" in refused("--home", str(home))


def test_a_source_that_is_no_encoder_is_named(tmp_path):
    line = refused("--home", str(tmp_path / "h"), "--encoder", str(tmp_path / "nothing"))
    assert str(tmp_path / "nothing") in line


def start(home: Path, encoder: Path, **settings) -> RunningServer:
    return RunningServer(home, example=False, encoder=encoder, **settings)


def test_a_port_that_is_taken_is_named_and_nothing_is_left_running(tmp_path, encoder):
    flags = ["--home", str(tmp_path / "two"), "--no-example", "--encoder", str(encoder)]
    with closing(start(tmp_path / "one", encoder)) as one:
        for name, port in (("port", one.server.port), ("http_port", one.server.http_port)):
            with pytest.raises(StartError, match=str(port)):
                start(tmp_path / "two", encoder, **{name: port})
        flags += ["--http-port", "0", "--port", str(one.server.port)]
        assert f"gRPC cannot listen on 127.0.0.1:{one.server.port}" in refused(*flags)
    # The folder is free again: what had been started was ended.
    with closing(start(tmp_path / "two", encoder)) as two, two.client() as client:
        assert client.list_models() == []


def damage_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"not a database at all")


def damage_page(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(4096))


def cut_off(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 4096)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, encoder: Path) -> Path:
    """The folder of a server that has learned two labels and ended."""
    home = tmp_path_factory.mktemp("finished") / "home"
    with closing(start(home, encoder)) as server, server.client() as client:
        client.create_model("m")
        teach(client, "m", LABELS)
        client.predict("m", "word")
    return home


@pytest.fixture
def home(finished: Path, tmp_path: Path) -> Path:
    """A copy of it to damage."""
    return shutil.copytree(finished, tmp_path / "home")


@pytest.mark.parametrize("damage", [damage_header, damage_page, cut_off])
@pytest.mark.parametrize("store", ["feedback.sqlite", "registry.sqlite"])
def test_a_damaged_store_is_named_and_left_as_it_is(home, encoder, store, damage):
    damage(home / store)
    before = (home / store).read_bytes()
    with pytest.raises(StartError, match=f"{home / store} is damaged: .*restore a backup"):
        start(home, encoder)
    assert (home / store).read_bytes() == before


def test_a_damaged_store_ends_the_command_with_one_line(home, encoder):
    damage_page(home / "feedback.sqlite")
    line = refused("--home", str(home), "--encoder", str(encoder), "--port", "0")
    assert f"{home / 'feedback.sqlite'} is damaged" in line


@pytest.mark.parametrize(
    ("store", "damage"),
    [
        ("predictions.sqlite", damage_header),
        ("predictions.sqlite", damage_page),
        ("adapt/adapt.sqlite", cut_off),
    ],
)
def test_what_can_be_lost_is_begun_anew(home, encoder, store, damage):
    damage(home / store)
    with closing(start(home, encoder)) as server, server.client() as client:
        answer = client.predict("m", "word")
        assert client.submit(answer, label="yes", wait=True).served
        assert len(list(client.list_feedback("m"))) == 3


def flip(path: Path) -> bytes:
    """Changes one byte in the middle; returns what was there."""
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    return whole


def unserved(client: Client, model: str, file: Path) -> None:
    """Calls are told what is damaged, for as long as it is."""
    for call in (
        lambda: client.predict(model, "word"),
        lambda: client.get_model(model),
        lambda: client.submit(model=model, text="word", label="yes"),
    ):
        with pytest.raises(HonedError) as caught:
            call()
        error = caught.value
        assert (error.status, error.reason) == ("FAILED_PRECONDITION", "MODEL_DAMAGED")
        assert str(file) in error.message
        assert "restore it from a backup" in error.message


def test_a_damaged_encoder_is_named_and_the_other_models_serve(tmp_path, home, encoder):
    damaged = {}
    with closing(start(home, encoder)) as server, server.client() as client:
        for n, name in enumerate(("model.safetensors", "tokenizer.json", "packed.onnx"), start=1):
            digest = make_encoder(home, tmp_path, n)
            client.create_model(f"other-{n}", encoder_digest=digest)
            teach(client, f"other-{n}", LABELS)
            damaged[f"other-{n}"] = home / "encoders" / digest / name
    whole = {file: flip(file) for file in damaged.values()}
    with closing(start(home, encoder)) as server, server.client() as client:
        for model, file in damaged.items():
            unserved(client, model, file)
        assert client.predict("m", "word").label
    for file, data in whole.items():
        file.write_bytes(data)
    with closing(start(home, encoder)) as server, server.client() as client:
        assert all(client.predict(model, "word").label for model in damaged)


def test_the_damaged_default_encoder_is_imported_again(home, encoder):
    for folder in (home / "encoders").iterdir():
        flip(folder / "model.safetensors")
    with closing(start(home, encoder)) as server, server.client() as client:
        assert client.predict("m", "word").label


def test_a_model_whose_only_version_is_damaged_serves_again_once_it_is_restored(tmp_path, encoder):
    home = tmp_path / "home"
    with closing(start(home, encoder, adapt=False)) as server, server.client() as client:
        client.create_model("m")
    file = home / "models/m/versions/1/head.safetensors"
    whole = flip(file)
    for _ in range(2):
        with closing(start(home, encoder)) as server, server.client() as client:
            unserved(client, "m", file)
    file.write_bytes(whole)
    with closing(start(home, encoder)) as server, server.client() as client:
        teach(client, "m", LABELS)
        assert client.predict("m", "word").label
        assert client.list_versions("m")[0].state in ("active", "retired")
        assert "its files were restored" in {d.reason for d in client.list_decisions("m")}


def test_labels_outlive_the_loss_of_all_that_can_be_rebuilt(home, encoder):
    """Only feedback, registry, versions and encoders are needed (docs/operations.md)."""
    for file in home.glob("predictions.sqlite*"):
        file.unlink()
    shutil.rmtree(home / "adapt")
    with running(home, example=False, encoder=encoder) as server, server.client() as client:
        wait_for(client, "m", caught_up)
        assert client.predict("m", "word").label == "yes"


def test_the_process_says_where_it_listens(home, encoder):
    process = ServerProcess(home, "--encoder", str(encoder))
    with process.client() as client:
        assert client.predict("m", "word").label
    assert process.stop() == 0
