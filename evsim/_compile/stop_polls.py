"""How a compiled loop finds out that it must stop.

The loop checks at regular intervals.  A check usually reads a single number, which is 0 as long as
nothing in this process must stop; otherwise it asks whether the work of its thread must stop.  The
answer does not change back from yes to no.  So a function that returns early need not tell its
caller: the caller checks, too.
"""

from __future__ import annotations

import ctypes
from typing import Any

from llvmlite import binding, ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

from evsim._compile.decorators import compiled
from evsim._compile.stopping import is_thread_stopped, requests

_REQUESTS, _ASK = "evsim_stop_requests", "evsim_is_thread_stopped"
_ask = ctypes.CFUNCTYPE(ctypes.c_bool)(is_thread_stopped)
# Machine code refers to both by name, so code that another process has compiled finds them too.
binding.add_symbol(_REQUESTS, requests.ctypes.data)
binding.add_symbol(_ASK, ctypes.cast(_ask, ctypes.c_void_p).value)


@intrinsic
def is_stopped(_context: Any) -> Any:
    """Whether the loop must stop; its results are then discarded."""

    def generate(_: Any, builder: Any, __: Any, ___: Any) -> Any:
        number, yes_or_no = ir.IntType(64), ir.IntType(8)
        place = builder.module.globals.get(_REQUESTS)
        if place is None:
            place = ir.GlobalVariable(builder.module, number, _REQUESTS)
            place.linkage = "external"
        function = ir.FunctionType(yes_or_no, [])
        ask = cgutils.get_or_insert_function(builder.module, function, _ASK)
        answer = cgutils.alloca_once_value(builder, yes_or_no(0))
        # Atomic, so that it is read each time: LLVM may move a plain load to before the loop.
        pending = builder.load_atomic(place, "monotonic", 8)
        with builder.if_then(builder.icmp_signed("!=", pending, number(0)), likely=False):
            builder.store(builder.call(ask, []), answer)
        return builder.icmp_signed("!=", builder.load(answer), yes_or_no(0))

    return types.boolean(), generate


if config.DISABLE_JIT:
    is_stopped = is_thread_stopped


@compiled
def is_stopped_at(i: int) -> bool:
    """``is_stopped``, checked only at every 4096th step i of a loop with very short steps."""
    return i & 4095 == 0 and is_stopped()
