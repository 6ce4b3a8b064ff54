"""Which device a server takes, and what it says when the one that was asked for is not there."""

import subprocess
import sys
from pathlib import Path

import pytest

from harness import running
from honed_server.config import ServerConfig
from honed_server.encoders.devices import DeviceUnavailable, find_device
from honed_server.encoders.onnx import OnnxEncoder
from honed_server.home import StartError

no_gpu = pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="this machine has a GPU")


def test_cpu_means_onnx_runtime(tmp_path: Path) -> None:
    device = find_device(ServerConfig(home=tmp_path, device="cpu", workers=3))
    assert (device.load, device.workers, device.integers) == (OnnxEncoder, 3, True)


@no_gpu
def test_without_a_gpu_auto_is_the_cpu(tmp_path: Path) -> None:
    assert find_device(ServerConfig(home=tmp_path)).load is OnnxEncoder


@no_gpu
def test_looking_for_a_gpu_loads_no_torch() -> None:
    code = (
        "import sys; from honed_server.config import ServerConfig as Config;"
        "from honed_server.encoders.devices import find_device;"
        "find_device(Config()); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@no_gpu
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "cuda"}, "device = cuda, but no NVIDIA driver .*set device = auto"),
        ({"precision": "fp16"}, "precision = fp16 is for NVIDIA GPUs.*set precision = auto"),
    ],
)
def test_what_is_not_there_stops_the_start(tmp_path: Path, settings: dict, message: str) -> None:
    with pytest.raises(DeviceUnavailable, match=message):
        find_device(ServerConfig(home=tmp_path, **settings))
    with pytest.raises(StartError, match=message), running(tmp_path, example=False, **settings):
        pass


def test_half_types_are_not_for_the_cpu(tmp_path: Path) -> None:
    with pytest.raises(DeviceUnavailable, match=r"precision = bf16 .* but device = cpu"):
        find_device(ServerConfig(home=tmp_path, device="cpu", precision="bf16"))
