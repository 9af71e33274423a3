"""How laws of the models are tried: no deadline, because the first example compiles the kernel."""

from hypothesis import settings

LAW = settings(deadline=None, max_examples=60)
