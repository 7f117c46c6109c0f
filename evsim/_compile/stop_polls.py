"""How a compiled loop learns that it is to stop.

It asks now and then.  Most of the time that is a look at one number, which says that nothing in
this process is to stop; only otherwise it is asked whether the work of its thread is.  A yes stays
one: a function that returns early because of it need not say so, its callers ask again.
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
# By these names machine code finds them, also what another process has compiled.
binding.add_symbol(_REQUESTS, requests.ctypes.data)
binding.add_symbol(_ASK, ctypes.cast(_ask, ctypes.c_void_p).value)


@intrinsic
def is_stopped(_context: Any) -> Any:
    """Whether the loop is to stop; what it has done then is of no use to anybody."""

    def generate(_: Any, builder: Any, __: Any, ___: Any) -> Any:
        number, yes_or_no = ir.IntType(64), ir.IntType(8)
        place = builder.module.globals.get(_REQUESTS)
        if place is None:
            place = ir.GlobalVariable(builder.module, number, _REQUESTS)
            place.linkage = "external"
        function = ir.FunctionType(yes_or_no, [])
        ask = cgutils.get_or_insert_function(builder.module, function, _ASK)
        answer = cgutils.alloca_once_value(builder, yes_or_no(0))
        # Atomic, so that it is read each time: a plain one may be read once, before the loop.
        found = builder.load_atomic(place, "monotonic", 8)
        with builder.if_then(builder.icmp_signed("!=", found, number(0)), likely=False):
            builder.store(builder.call(ask, []), answer)
        return builder.icmp_signed("!=", builder.load(answer), yes_or_no(0))

    return types.boolean(), generate


if config.DISABLE_JIT:
    is_stopped = is_thread_stopped


@compiled
def is_stopped_at(i: int) -> bool:
    """As ``is_stopped``, in a loop whose steps are so short that only one of 4096 asks."""
    return i & 4095 == 0 and is_stopped()
