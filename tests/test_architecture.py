"""The house rules that a tool can check: sizes, layers, words that must not appear."""

import ast
import re
import subprocess
import sys
from pathlib import Path
from statistics import median, quantiles

import pytest

ROOT = Path(__file__).parents[1]
ROOTS = ("proto", "kernels", "adapt", "server", "clients/python", "loadtest")
# The server-side path of a prediction, to be read in one sitting.
HOT_PATH = (
    *(f"serving/{name}.py" for name in ("service", "batcher", "engine", "generations")),
    "encoders/onnx.py",
)


def sources() -> list[Path]:
    files = [path for root in ROOTS for path in (ROOT / root).rglob("*.py")]
    return [path for path in files if not re.search(r"_pb2\.py$", path.name)]


def functions(path: Path) -> list[tuple[str, int]]:
    """Each function with its lines, signature included and docstring not."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, kinds):
            docstring = ast.get_docstring(node, clean=False) or ""
            lines = node.end_lineno - node.lineno + 1 - len(docstring.splitlines())
            found.append((f"{path.name}:{node.name}", lines))
    return found


def test_no_file_has_more_than_300_lines():
    long = {path.name: len(path.read_text().splitlines()) for path in sources()}
    assert {name: lines for name, lines in long.items() if lines > 300} == {}


def test_functions_are_short():
    found = [function for path in sources() for function in functions(path)]
    # A GPU kernel is one function by nature: what it names lives in registers.
    kernels = {function for function in found if function[0].endswith("_kernel")}
    assert [function for function in kernels if function[1] > 80] == []
    assert [function for function in set(found) - kernels if function[1] > 45] == []
    lengths = [length for _, length in found]
    assert median(lengths) <= 10
    assert quantiles(lengths, n=10)[8] <= 25


def test_the_path_of_a_prediction_reads_in_one_sitting():
    files = [ROOT / "server/honed_server" / name for name in HOT_PATH]
    files.append(ROOT / "kernels/honed_kernels/head.py")
    lines = [line for path in files for line in path.read_text().splitlines() if line.strip()]
    assert len(lines) <= 900


@pytest.mark.parametrize(
    "pattern",
    [
        r"except:\s*$", r"except Exception:\s*pass", r"\bpickle\b",
        r"torch\.load\(", r"yaml\.load\(", r"trust_remote_code", r"NotImplementedError",
        r"\bTODO\b",
    ],
)  # fmt: skip
def test_words_that_must_not_appear(pattern):
    assert lines_with(pattern, sources()) == []


def test_no_owner_on_the_server_side_sleeps():
    """A client may wait before it tries again."""
    sleeps = r"\btime\.sleep\(|from time import .*\bsleep\b"
    owners = [path for path in sources() if path.relative_to(ROOT).parts[0] in ("server", "adapt")]
    assert lines_with(sleeps, owners) == []


def lines_with(pattern: str, files: list[Path]) -> list[str]:
    return [
        f"{path.name}: {line.strip()}"
        for path in files
        for line in path.read_text().splitlines()
        if re.search(pattern, line)
    ]


def test_every_folder_is_a_source_root_without_init():
    """A bare `kernels` or `proto` package would shadow real libraries."""
    for root in ("proto", "kernels", "adapt", "server", "clients", "clients/python", "loadtest"):
        assert not (ROOT / root / "__init__.py").exists()
    for package in (
        "honed_proto",
        "honed_kernels",
        "honed_adapt",
        "honed_server",
        "honed_loadtest",
    ):
        assert list(ROOT.glob(f"*/{package}/py.typed"))


def test_import_layers_hold():
    tool = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([tool], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "package", ["honed_server.app", "honed_adapt.process.loop", "honed_kernels.head"]
)
def test_serving_loads_no_torch(package):
    code = f"import sys, {package}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
