"""Makes streams/data/scenarios.jsonl, the example's scenario sets, out of the histories in streams/data.

python deploy/example/make_scenarios.py; the same file at every making.
"""

import sys
from pathlib import Path

from engine.scenarios.sets import ScenarioSet, encode
from streams.history import BITCOIN, PAR_YIELDS
from streams.scenarios import from_history, listed
from streams.sources import DATA

SCENARIOS = DATA / "scenarios.jsonl"
RATES_AS_OF = "2024-04-30"  # where the example's generated Treasury prices begin
COINS = ("btc=BTC-USD", "eth=ETH-USD")
ETHER = "ETH-USD=BTC-USD:1.4"  # the ratio of their daily volatilities from 2020-06-28 to 2021-06-28, 1.405
LISTED = {"SPAN-16": "span", "GRID-BTC": "grid:BTC", "GRID-ETH": "grid:ETH", "POINTS-INDEX": "points:high_cap_broad_index"}


def sets() -> list[ScenarioSet]:
    """All sets, in the order of the file."""
    return [
        from_history([PAR_YIELDS], "RATES-1D", as_of=RATES_AS_OF),
        from_history([PAR_YIELDS], "RATES-3D", as_of=RATES_AS_OF, horizon_days=3),
        from_history(BITCOIN, "CRYPTO-1D", rename=COINS, proxy=[ETHER]),
        *(listed(kind, name) for name, kind in LISTED.items()),
    ]


def main(out: Path = SCENARIOS) -> None:
    """Write the file and show the sets."""
    documents = {made.name: encode(made) for made in sets()}
    out.write_bytes(b"".join(document + b"\n" for document in documents.values()))
    for name, document in documents.items():
        sys.stdout.write(f"{len(document):>9,} {name}\n")


if __name__ == "__main__":
    main()
