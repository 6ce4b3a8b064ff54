"""Generates honed_proto/v1/*_pb2.py and .pyi; run by `make proto`, in the oldest toolchain.

Generated code refuses to import under an older protobuf than the compiler's, so the compiler is
pinned to the floor in pyproject.toml. `tests/proto/test_generated.py` calls it into a temporary
folder and compares.
"""

import sys
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).parent


def generate(destination: Path) -> None:
    """Writes the generated modules below `destination`; raises SystemExit when protoc fails."""
    google_rpc = Path(str(files("google.rpc") / "status.proto")).parents[2]
    well_known = Path(str(files("grpc_tools") / "_proto"))
    protos = sorted(str(path) for path in ROOT.glob("honed_proto/v1/*.proto"))
    includes = [f"-I{ROOT}", f"-I{google_rpc}", f"-I{well_known}"]
    outputs = [f"--python_out={destination}", f"--pyi_out={destination}"]
    if protoc.main(["protoc", *includes, *outputs, *protos]):
        raise SystemExit("protoc failed: see its message above")


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
