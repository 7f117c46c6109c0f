"""Compiled functions that are always inlined into other compiled functions.

numba prepares every compiled function to be called: it optimises the function, generates machine
code, and adds wrappers for Python and for C.  For a function that is inlined into each of its
callers this work is wasted, because numba repeats it for the callers.  Here such a function stays
in LLVM's intermediate language until the entry point that uses it is compiled.  This reduces the
time to compile a first gradient by a third.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numba
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.registry import CPUDispatcher
from numba.core.typed_passes import NativeLowering

from evsim._compile.stopping import check_stopped


class _InlinedLibrary(JITCodeLibrary):
    """The intermediate code of a function, which is linked into its callers and optimised there."""

    def _finalize_final_module(self) -> None:
        """Generate no machine code."""
        self._finalize_dynamic_globals()
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)
class _InlinedLowering(NativeLowering):
    _name = "evsim_inlined_lowering"

    def run_pass(self, state: Any) -> bool:
        check_stopped()  # before the function has been registered anywhere
        context, flags = state.targetctx, state.flags
        state.library = _InlinedLibrary(context.codegen(), state.func_id.func_qualname)
        flags.no_cpython_wrapper = flags.no_cfunc_wrapper = flags.no_compile = True
        super().run_pass(state)
        # Callers find the code by this key; any unique object will do, because nobody calls it.
        key = object()
        context.insert_user_function(key, state["cr"].fndesc, [state.library])
        state["cr"] = state["cr"]._replace(cfunc=key)
        return True


class _InlinedCompiler(CompilerBase):
    def define_pipelines(self) -> list[Any]:
        pipeline = DefaultPassBuilder.define_nopython_pipeline(self.state)
        pipeline.passes = [
            (_InlinedLowering if step is NativeLowering else step, description)
            for step, description in pipeline.passes
        ]
        pipeline.finalize()
        return [pipeline]


class Inlined(CPUDispatcher):
    """A function that compiled functions inline.

    If Python calls it, as tests do, it is compiled a second time, as an ordinary function.
    """

    def __init__(self, function: Any, **options: Any) -> None:
        self._options = {"nopython": True, "boundscheck": None, **options}
        super().__init__(
            function,
            targetoptions={**self._options, "forceinline": True},
            pipeline_class=_InlinedCompiler,
        )

    def add_overload(self, result: Any) -> None:
        """Record a compiled version as the base class does, but not for calls from Python."""
        self.overloads[tuple(result.signature.args)] = result

    @cached_property
    def _for_python(self) -> Any:
        return numba.njit(**{k: v for k, v in self._options.items() if k != "nopython"})(
            self.py_func
        )

    def __call__(self, *arguments: Any) -> Any:
        return self._for_python(*arguments)
