"""Benchmarks: `crossmargin bench`, or `python -m tests.bench`; what each measures and leaves out is in its notes."""

import streams  # noqa: F401  (points numba at its cache before the engine is imported)
