"""Golden figures by file name (tests/golden), and numbers rounded as they are printed."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

GOLDEN: Final = Path(__file__).parents[2] / "golden"


def golden(name: str) -> Any:
    """The figures of a file, its decimals exact."""
    return json.loads((GOLDEN / f"{name}.json").read_text(), parse_float=Decimal)


def as_printed(value: float, printed: Decimal | int) -> Decimal:
    """A computed number rounded to the digits of the printed one."""
    return Decimal(value).quantize(Decimal(printed))
