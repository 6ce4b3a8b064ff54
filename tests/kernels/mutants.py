"""Mutation tests: a kernel with one thing broken must fail the check that the real one passes."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

_sound: set[tuple[str, Callable[[ModuleType], None]]] = set()  # modules, and checks they passed


def assert_caught(
    module: ModuleType,
    old: str,
    new: str,
    check: Callable[[ModuleType], None],
    folder: Path,
) -> None:
    """Break `module` by writing `new` for `old`, its only occurrence, and expect `check` to notice.

    Args:
        module: a module of `triton_kernels`; `check` calls its launch function.
        old: source text.
        new: what to write instead.
        check: must fail by an assertion: a mutant that does not even run proves nothing.
        folder: an empty one; Triton reads the mutant's source from it.
    """
    assert module.__file__
    source = Path(module.__file__).read_text()
    assert source.count(old) == 1, f"{old!r} occurs {source.count(old)} times"
    if (module.__name__, check) not in _sound:
        check(module)
        _sound.add((module.__name__, check))
    path = folder / f"{module.__name__.rpartition('.')[2]}_mutant.py"
    path.write_text(source.replace(old, new))
    spec = spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    mutant = module_from_spec(spec)
    sys.modules[path.stem] = mutant  # dataclasses look their module up
    try:
        spec.loader.exec_module(mutant)
        # What a mutant computes may overflow; that alone is not a check that failed.
        with warnings.catch_warnings(action="ignore"), pytest.raises(AssertionError):
            check(mutant)
    finally:
        del sys.modules[path.stem]
