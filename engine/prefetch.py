"""Ask the processor for memory that a kernel will need soon.

A trade touches some ten places of a state far larger than the caches; one after another, they cost most of its time.
"""

from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils as _cgutils
from numba.core import types
from numba.extending import intrinsic

cgutils: Any = _cgutils  # untyped
config: Any = numba.config

if config.DISABLE_JIT:

    def prefetch(array: Any, index: Any) -> None:
        """Nothing: without compiled code there is nothing to wait for."""

else:

    @intrinsic
    def prefetch(_context: Any, array: Any, index: Any) -> Any:
        """Fetch the cache line of array[index] (one dimension) for writing, without waiting for it."""

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            array_type = signature.args[0]
            view = context.make_array(array_type)(context, builder, values[0])
            item = cgutils.get_item_pointer(context, builder, array_type, view, [values[1]], wraparound=False)
            pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
            kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
            function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
            builder.call(function, [builder.bitcast(item, pointer), number(1), number(3), number(1)])
            return context.get_dummy_value()

        return types.void(array, index), generate
