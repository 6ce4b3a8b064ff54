"""What Triton would compile for the launches of a test, told without compiling anything.

In the interpreter `compilations()` stands at 0 whatever is launched. Triton compiles a kernel once
for each key: the types of its arguments, the integers that are 1, the addresses and integers that
divide by 16, the constants, the warps and the stages. The keys here come from Triton's own code
(`create_function_from_signature`), so they are those of a GPU, but for `UPCAST`, which only the
interpreter sets.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any

import pytest
from triton.backends.compiler import GPUTarget
from triton.compiler import make_backend
from triton.runtime.jit import JITFunction, create_function_from_signature

from honed_kernels import triton_kernels
from honed_kernels.aot.compiler import alignment
from honed_kernels.aot.variant import Variant
from honed_kernels.gpu.kernels import find

Key = tuple[Any, ...]
_BACKEND = make_backend(GPUTarget("cuda", 90, 32))
_WARPS, _STAGES = 4, 3  # what Triton takes where a launch names none


@contextmanager
def launched() -> Iterator[set[Key]]:
    """The keys of all that is launched inside, as they come."""
    keys: set[Key] = set()
    with pytest.MonkeyPatch.context() as patch:
        for kernel in find().values():
            patch.setattr(kernel, "run", partial(_run, kernel.run, _binder(kernel), keys))
        yield keys


def compiled_ahead() -> set[Key]:
    """The keys of all that `python -m honed_kernels.aot` compiles."""
    modules = pkgutil.iter_modules(triton_kernels.__path__, f"{triton_kernels.__name__}.")
    found = [import_module(module.name) for module in modules]
    return {
        _of_variant(form)
        for module in found
        if hasattr(module, "variants")
        for form in module.variants()
    }


def _run(run: Any, binder: Any, keys: set[Key], *args: Any, **options: Any) -> Any:
    launch = {name: value for name, value in options.items() if name not in ("grid", "warmup")}
    bound, specialization, rest = binder(*args, **launch)
    kinds = [
        (kind, what or "") if kind != "constexpr" else (kind, what) for kind, what in specialization
    ]
    forms = (rest.get("num_warps", _WARPS), rest.get("num_stages", _STAGES))
    keys.add(_key(run.__self__.fn, zip(bound, kinds, strict=True), *forms))
    return run(*args, **options)


def _binder(kernel: Any) -> Any:
    real = JITFunction(kernel.fn, **kernel.kwargs)
    return create_function_from_signature(real.signature, real.params, _BACKEND)


def _of_variant(form: Variant) -> Key:
    real = JITFunction(form.kernel.fn, **form.kernel.kwargs)  # the interpreter's knows no alignment
    aligned = alignment(replace(form, kernel=real))
    kinds = [
        ("constexpr", form.constants[name])
        if kind == "constexpr"
        else (kind, "D" if (index,) in aligned else "")
        for index, (name, kind) in enumerate(form.signature.items())
    ]
    named = zip(form.signature, kinds, strict=True)
    return _key(form.kernel.fn, named, form.num_warps, form.num_stages)


def _key(fn: Any, named: Any, warps: int, stages: int) -> Key:
    kinds = tuple((name, *kind) for name, kind in named if name != "UPCAST")
    return fn.__name__, kinds, warps, stages
