"""bitsandbytes without torch's compiler, and without its complaints."""

from __future__ import annotations

import contextlib
import logging


def import_bitsandbytes() -> None:
    """Import bitsandbytes, if it can be, with `torch.compile` giving functions back as they are.

    It hands two functions to `torch.compile` as it is imported, which loads all of the compiler:
    some three seconds at every start of a run. On CPU and CUDA its own kernels stand in for both
    (bitsandbytes 0.50, `backends/default/ops.py`: blockwise and 4-bit dequantization).
    """
    import torch  # start-up time

    # At import it complains that it cannot fetch a kernel for a layout that is never used (see
    # `engine.llm.models.quantized`), and later at every call of an 8-bit layer that it casts the
    # input, as it always does.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)

    def as_it_is(function=None, **_):  # type: ignore[no-untyped-def]
        return function if function is not None else lambda given: given

    real = torch.compile
    torch.compile = as_it_is  # type: ignore[assignment]
    try:
        with contextlib.suppress(ImportError):  # told by who needs it
            import bitsandbytes  # noqa: F401
    finally:
        torch.compile = real
