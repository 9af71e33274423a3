"""The rows of the state's tables: a field each, with its unit. Their layout is part of the snapshot's format.

Money is in micros (1e-6 of a minor unit) where a name says so, else in minor units of its currency.
"""

from typing import Final

import numpy as np

INSTRUMENT: Final = np.dtype(
    [
        # definition
        ("key", "<u8"), ("currency", "<i4"), ("asset", "<i4"), ("tick", "<i8"), ("lot", "<i8"),
        ("low", "<i8"), ("high", "<i8"), ("tick_value", "<i8"),  # micros of one lot, one tick
        ("contract", "<i8"), ("scale", "<i8"),  # inverse: one lot in the quote currency, micros of one unit of the currency
        ("max_lots", "<i8"), ("expiry_ns", "<i8"), ("stale_ns", "<i8"), ("calendar", "<i4"), ("underlying", "<i4"),
        ("dv01_factor", "<i4"), ("delta_factor", "<i4"), ("dv01", "<i8"), ("delta", "<i8"), ("delta_divisor", "<i8"),
        ("delta_multiplier", "<i8"), ("inverse", "u1"), ("tradable", "u1"),
        # market
        ("priced", "u1"), ("settled", "u1"), ("closed", "u1"), ("quality", "u1"), ("mark_quality", "u1"),
        ("mark", "<i8"), ("mark_ts_ns", "<i8"), ("settlement", "<i8"), ("lot_value", "<i8"), ("volatilities", "<i4"),
        # holders: a list of chunks
        ("first_chunk", "<i4"), ("last_chunk", "<i4"), ("last_used", "<i4"),
        # margin rates per lot, and what they were built from
        ("model", "u1"), ("switched", "u1"), ("built", "u1"), ("rule_version", "<u8"),
        ("flat_initial", "<i8"), ("flat_maintenance", "<i8"), ("floor", "<i8"), ("factor", "<i8"), ("factor_bp", "<i8"),
        ("initial_ratio", "<i8"), ("tenor", "<i8"), ("volatility_stale_ns", "<i8"), ("tiers", "<i4"),
        ("initial_rate", "<i8"), ("maintenance_rate", "<i8"), ("built_value", "<i8"), ("built_mark", "<i8"),
        ("built_volatility", "<i8"), ("built_unit", "<i8"), ("built_ns", "<i8"),
        # risk rows, and what portfolio models need beside them, per lot in the money of the rule
        ("portfolio", "<i4"), ("group", "<i4"),  # its row in `portfolios`; its underlying, else itself
        ("sets", "<i8"),  # bit s: it has a row in scenario set s
        ("missing", "<i8"),  # bit s: that row is not there: of all sets, where its own rule's cannot be built
        ("waits", "u1"), ("option", "u1"),
        ("eligible", "<i8"),  # bit r: eligible under cross-margin rule r
        ("built_forward", "<i8"), ("built_rate", "<i8"),  # the underlying's mark and the currency's rate of the rows
        ("quote", "<i4"),  # the asset that profits are counted in
        ("risk_delta", "<i8"), ("spot", "<i8"), ("gross", "<i8"), ("roll", "<i8"), ("minimum", "<i8"),
        ("unit_risk", "<i8"), ("volume", "<i8"), ("funding_rate", "<i8"),
    ],
    align=True,
)  # fmt: skip
ASSET: Final = np.dtype(
    [
        ("key", "<u8"), ("currency", "<i4"), ("currency_slot", "<i4"), ("instrument", "<i4"), ("is_currency", "u1"),
        ("quality", "u1"), ("watched", "u1"),  # a rule's add-ons look at how much of it is held
        ("unit", "<i8"), ("haircut", "<i8"), ("numerator", "<i8"), ("denominator", "<i8"),
        ("rate", "<i8"),  # US cents x 1e12 of one minor unit
    ],
    align=True,
)  # fmt: skip
VOLATILITY_ROW: Final = np.dtype(
    [("underlying", "<i4"), ("next", "<i4"), ("tenor", "<i8"), ("value", "<i8"), ("ts_ns", "<i8"), ("basis_points", "<i8")]
)
PORTFOLIO_ROW: Final = np.dtype(
    [
        ("model", "<i4"), ("set", "<i4"), ("currency", "<i4"), ("asset", "<i4"), ("rule", "<u8"),
        ("scenarios", "<i8"), ("initial_ratio", "<i8"), ("multiplier", "<i8"),
        ("lookback", "<i8"), ("stress", "<i8"), ("tail_bps", "<i8"), ("stress_weight_bps", "<i8"),
        ("has_floor", "<i8"), ("minimum", "<i8"),
        ("calendar_charge", "<i8"), ("first_spread", "<i8"), ("last_spread", "<i8"),
        ("gain_share", "<i8"), ("gain_cap", "<i8"), ("delta_threshold", "<i8"), ("delta_step", "<i8"), ("delta_cap", "<i8"),
        ("offset", "<i8"),
        # add-ons: the rule's numbers, and what volatility and calendar said when rules were last bound
        ("participation", "<i8"), ("horizon_days", "<i8"), ("fundings", "<i8"), ("low", "<i8"), ("high", "<i8"),
        ("charge", "<i8"), ("buffer", "<i8"), ("short_volatility", "<i8"), ("long_volatility", "<i8"), ("gap", "<i8"),
        ("least_ns", "<i8"), ("closure_ns", "<i8"),
        ("depeg_asset", "<i8"), ("depeg_par", "<i8"),  # a stablecoin, and the rate of its minor unit at 1
        ("depeg_threshold", "<i8"), ("depeg_share", "<i8"), ("off_peg", "<i8"),
        ("looked_rule", "<u8"), ("looked_hour", "<i8"),  # the version and the hour that these were worked out for
    ],
    align=True,
)  # fmt: skip
AGREEMENT: Final = np.dtype(
    [
        ("futures", "<i4"), ("treasury", "<i4"),  # accounts
        ("cme", "<i4"), ("ficc", "<i4"),  # rows of `portfolios`
        ("cap", "<i8"), ("precision", "<i8"), ("ttl_ns", "<i8"),
        ("pairs", "<i8"),  # of a rule with spreads their key, and then savings are minor units; else 0, and they are 1e-9
        ("saving", "<i8"), ("agreed_ns", "<i8"),  # the last agreed saving, below 0: none; and when
        ("active", "u1"), ("done", "u1"), ("basis", "u1"),
        ("held", "u1"),  # the saving may not rise: an input was stale when it was worked out
        ("touched", "u1"),  # it was looked at since what is published of it was taken
        ("rule", "<i8"),  # its bit in `eligible`
        ("applied", "<i8"),  # the saving now
        ("after_futures", "<i8"), ("after_treasury", "<i8"),  # what each leg's portfolio requires with it, minor units
        ("alone_futures", "<i8"), ("alone_treasury", "<i8"),  # and without; maintenance before the multiplier
    ],
    align=True,
)  # fmt: skip
TERMS: Final = np.dtype(  # how a pool takes an asset
    [
        ("haircut", "<i8"),  # 1e-9; E9: it is not taken
        ("cap", "<i8"), ("share", "<i8"),  # US cents, LIMIT: none; of maintenance, 1e-9, NONE: none
        ("entry", "<i4"),  # the first of the assets that count in these limits together, NONE: it has none
        ("shock", "<i4"),  # Shock: whether and how it moves in the scenarios of positions
    ],
    align=True,
)  # fmt: skip
POSITION: Final = np.dtype([("cost", "<i8"), ("realized", "<i8"), ("as_of_ns", "<i8"), ("last_trade_ns", "<i8")])
ACCOUNT: Final = np.dtype(
    [
        ("asset", "<i4"),  # its currency
        ("stale", "<i4"), ("unpriced", "<i4"),  # held positions whose instrument is so
        ("status", "u1"), ("quality", "u1"),
        ("change", "<i8"), ("equity", "<i8"), ("initial", "<i8"), ("maintenance", "<i8"), ("call", "<i8"),
        ("excess_usd", "<i8"),
    ],
    align=True,
)  # fmt: skip
CALL: Final = np.dtype(
    [
        ("account", "<i4"), ("next", "<i4"),  # the account's next younger call; of a free row the next free one
        ("state", "u1"), ("sequence", "<i8"), ("amount", "<i8"), ("received", "<i8"),  # minor units
        ("issued_ns", "<i8"), ("due_ns", "<i8"), ("escalate_ns", "<i8"), ("restrict_ns", "<i8"),
        ("since_ns", "<i8"),  # pending: since when short; open: since when back at initial, 0: not
        ("wake_ns", "<i8"),  # when time alone may change it
    ],
    align=True,
)  # fmt: skip
CALL_TERMS: Final = np.dtype(
    [
        ("minimum", "<i8"), ("rounding", "<i8"),  # minor units, from 1
        ("issue_after_ns", "<i8"), ("cover_after_ns", "<i8"), ("raise_share", "<i8"),  # 1e-9
        ("due_ns", "<i8"), ("escalate_ns", "<i8"), ("restrict_ns", "<i8"),  # of a call issued now
    ],
    align=True,
)  # fmt: skip
STATEMENT: Final = np.dtype(
    [
        ("account", "<i4"), ("next", "<i4"),  # the account's statement before
        ("slot", "<i4"), ("is_asset", "u1"),  # of an asset, else of an instrument
        ("holder", "<i8"),  # key64 of who stated it; 0: nobody did, though the account holds it
        ("quantity", "<i8"), ("ts_ns", "<i8"),  # 1e-8 units
        ("since_ns", "<i8"),  # since which clock statements differ from what is held; 0: the last one did not
        ("gone_ns", "<i8"),  # the clock at which a run began that has not stated it; 0: the last run did
    ],
    align=True,
)  # fmt: skip
ENTRY: Final = np.dtype([("key", "<u8"), ("slot", "<i8")])
TIER: Final = np.dtype([("above", "<i8"), ("initial", "<i8"), ("maintenance", "<i8")])
GLOBALS: Final = np.dtype(
    [
        ("clock_ns", "<i8"), ("passed_ns", "<i8"), ("ahead_ns", "<i8"), ("spread_ns", "<i8"), ("rebuild_ns", "<i8"),
        ("rebuild_bps", "<i8"), ("portfolios", "<i8"), ("agreements", "<i8"), ("next_row", "<i8"),
        ("accounts", "<i8"), ("max_accounts", "<i8"), ("positions", "<i8"), ("max_positions", "<i8"), ("chunks", "<i8"),
        ("instruments", "<i8"), ("assets", "<i8"), ("currencies", "<i8"), ("factors", "<i8"),
        ("volatilities", "<i8"), ("max_volatilities", "<i8"),
        ("statements", "<i8"),
        ("calls", "<i8"), ("free_call", "<i8"), ("next_deadline_ns", "<i8"),  # rows used, first free one among them or NONE
        ("generation", "<i8"), ("ids", "<i8"), ("max_ids", "<i8"), ("ids_from_ns", "<i8"), ("previous_ids_from_ns", "<i8"),
    ]
)  # fmt: skip
