"""Compiled functions that only compiled ones call: they become part of these, and nothing else.

numba makes every compiled function ready to be called: it optimises it, generates machine code,
and wraps it for Python and for C.  For one that is inlined wherever it is called all of this is
done again as part of its callers, the first time for nothing.  Here such a function stays in
LLVM's language until the function that Python calls is finished; so a first gradient is
compiled in two thirds of the time.
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
    """The code of a function, to be linked into those of its callers, which optimise it all."""

    def _finalize_final_module(self) -> None:
        """No machine code."""
        self._finalize_dynamic_globals()
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)
class _InlinedLowering(NativeLowering):
    _name = "evsim_inlined_lowering"

    def run_pass(self, state: Any) -> bool:
        check_stopped()  # nothing of this function is left behind
        context, flags = state.targetctx, state.flags
        state.library = _InlinedLibrary(context.codegen(), state.func_id.func_qualname)
        flags.no_cpython_wrapper = flags.no_cfunc_wrapper = flags.no_compile = True
        super().run_pass(state)
        # By this callers find the code; it need only be unique, for nobody calls it.
        key = object()
        context.insert_user_function(key, state["cr"].fndesc, [state.library])
        state["cr"] = state["cr"]._replace(cfunc=key)
        return True


class _InlinedCompiler(CompilerBase):
    def define_pipelines(self) -> list[Any]:
        pipeline = DefaultPassBuilder.define_nopython_pipeline(self.state)
        pipeline.passes = [
            (_InlinedLowering if own is NativeLowering else own, description)
            for own, description in pipeline.passes
        ]
        pipeline.finalize()
        return [pipeline]


class Inlined(CPUDispatcher):
    """A function for compiled functions to call, which inline it.

    Called from Python, as tests do, it is compiled once more, for that.
    """

    def __init__(self, function: Any, **options: Any) -> None:
        self._options = {"nopython": True, "boundscheck": None, **options}
        super().__init__(
            function,
            targetoptions={**self._options, "forceinline": True},
            pipeline_class=_InlinedCompiler,
        )

    def add_overload(self, result: Any) -> None:
        """As that of the base, but out of reach of calls from Python."""
        self.overloads[tuple(result.signature.args)] = result

    @cached_property
    def _for_python(self) -> Any:
        return numba.njit(**{k: v for k, v in self._options.items() if k != "nopython"})(
            self.py_func
        )

    def __call__(self, *arguments: Any) -> Any:
        return self._for_python(*arguments)
