"""Makes the data that travels in streams/data out of the recordings and histories it comes from.

python deploy/example/make_excerpt.py SOURCE, where SOURCE holds binance/, ust/ and coinbase/ as streams/data/README.md says.
"""

import csv
import gzip
import shutil
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from engine.numbers import scaled
from streams.binance import BinanceFile
from streams.market import RECORDED
from streams.sources import DATA

RECORDINGS = {
    "BTC-USDT": "spot/btcusdt_20240808.gz",
    "ETH-USDT": "spot/ethusdt_20240808.gz",
    "BTCUSDT-PERP": "usdm/btcusdt_20240808.gz",
    "ETHUSDT-PERP": "usdm/ethusdt_20240808.gz",
    "BTCUSD-PERP": "cm/btcusd_perp_20240808.gz",
    "ETHUSD-PERP": "cm/ethusd_perp_20240808.gz",
}
LICENSES = {
    "binance/LICENSE": "LICENSE-ticks",
    "ust/LICENSE-par_yields": "LICENSE-par_yields",
    "coinbase/LICENSE-yahoo_files": "LICENSE-crypto_closes",
}
MICROSECOND = 1000


def ticks(recording: Path, decimals: int) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """Rows of time in us, whether a trade, bid (or price) and ask in units of 10^-decimals."""
    rows = []
    for ts_ns, _, _, body in BinanceFile(recording):
        event = msgspec.json.decode(body)
        trade = "price" in event
        bid, ask = (event["price"], event["price"]) if trade else (event["bid"], event["ask"])
        rows.append((ts_ns // MICROSECOND, trade, scaled(bid, 10**8), scaled(ask, 10**8)))
    table = np.array(rows, np.int64)
    assert not (table[:, 2:] % 10 ** (8 - decimals)).any()
    table[:, 2:] //= 10 ** (8 - decimals)
    return table


def make_ticks(source: Path) -> None:
    """ticks.npz: per instrument the differences of its columns, in the smallest integers that hold them."""
    columns: dict[str, Any] = {}
    for name, decimals in RECORDED.items():
        table = ticks(source / "binance" / RECORDINGS[name], decimals)
        columns[f"{name}.first"] = table[0, [0, 2]]
        columns[f"{name}.time"] = np.diff(table[:, 0], prepend=table[0, 0]).astype(np.uint32)
        columns[f"{name}.trade"] = table[:, 1].astype(np.uint8)
        columns[f"{name}.bid"] = np.diff(table[:, 2], prepend=table[0, 2]).astype(np.int16)
        columns[f"{name}.spread"] = (table[:, 3] - table[:, 2]).astype(np.int16)
        assert (np.cumsum(columns[f"{name}.bid"], dtype=np.int64) + table[0, 2] == table[:, 2]).all()
        assert (columns[f"{name}.spread"] == table[:, 3] - table[:, 2]).all()
    np.savez_compressed(DATA / "ticks.npz", **columns)


def make_histories(source: Path) -> None:
    """par_yields.csv.gz as it is, and crypto_closes.csv.gz with the closes alone."""
    yields = (source / "ust" / "par_yields_1990_2024.csv").read_bytes()
    (DATA / "par_yields.csv.gz").write_bytes(gzip.compress(yields, 9, mtime=0))
    closes: dict[str, dict[str, str]] = {}
    for asset in ("btc", "eth"):
        with (source / "coinbase" / f"yahoo_{asset}_2020_2021.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                closes.setdefault(row["Date"], {})[asset] = f"{float(row['Close']):.2f}"
    lines = ["date,btc,eth", *(f"{day},{row['btc']},{row['eth']}" for day, row in sorted(closes.items()) if len(row) == 2)]
    (DATA / "crypto_closes.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode() + b"\n", 9, mtime=0))


def main() -> None:
    """Write all files and show their sizes."""
    source = Path(sys.argv[1])
    make_ticks(source)
    make_histories(source)
    for origin, name in LICENSES.items():
        shutil.copyfile(source / origin, DATA / name)
    for file in sorted(DATA.iterdir()):
        sys.stdout.write(f"{file.stat().st_size:>9,} {file.name}\n")


if __name__ == "__main__":
    main()
