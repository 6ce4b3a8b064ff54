"""The committed protobuf code is what the oldest supported compiler makes of the .proto files."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMPILER = ROOT / "build" / "protoc" / "bin" / "python"


def test_generated_code_is_fresh(tmp_path):
    assert COMPILER.exists(), "run `make proto` once: it installs the pinned compiler"
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run([str(COMPILER), str(ROOT / "proto" / "generate.py"), str(out)], check=True)
    fresh = {path.relative_to(out): path.read_text() for path in out.rglob("*_pb2.py*")}
    committed = ROOT / "proto"
    found = {
        path.relative_to(committed): path.read_text()
        for path in committed.rglob("honed_proto/v1/*_pb2.py*")
        if path.suffix in (".py", ".pyi")
    }
    assert fresh.keys() == found.keys()
    stale = [str(name) for name in fresh if fresh[name] != found[name]]
    assert not stale, f"run `make proto`: {stale}"


@pytest.mark.parametrize("proto", sorted((ROOT / "proto").glob("honed_proto/v1/*.proto")))
def test_every_field_message_and_method_is_commented(proto):
    lines = proto.read_text().splitlines()
    declares = re.compile(r"^\s*(message|service|enum|rpc)\b|=\s*\d+;|^\s*[A-Z_]+ = \d+;")
    bare = [
        f"{proto.name}:{number + 1}: {line.strip()}"
        for number, line in enumerate(lines)
        if declares.search(line) and not lines[number - 1].lstrip().startswith("//")
    ]
    assert not bare
