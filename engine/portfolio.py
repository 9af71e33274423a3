"""What an account holds under its portfolio rules requires: positions into scenario vectors, and vectors into lines.

The models are those of engine/models; here they get the account's positions, the rows in force and the rule's numbers. A
requirement is the sum of its lines, minor units of the rule's currency; LIMIT where it is not below that.
"""

from typing import Any

from engine.agreements import agree, pair_flags
from engine.arithmetic import E6, E9, LIMIT, add_up, inlined, kernel, mul_div_up, part
from engine.charges import Line, add_charges
from engine.models.grid import DeltaShock, add_pair, delta_shock, roll_shock
from engine.models.points import add_class, contract_minimum
from engine.models.rows import worst_loss
from engine.models.scan import short_option_minimum, spread_amount
from engine.requirement import is_margined
from engine.state import GRID, HISTORICAL, LINE, MARGIN_DUE, NONE, SCAN, MarginState
from engine.vectors import UNITS, add_shocked, gather, historical_loss, select, value_floor, vector_of

COIN = 10**10  # units of a delta in one unit of its underlying
_RISK, _FLOOR, _SPREAD, _MINIMUM = int(Line.RISK), int(Line.FLOOR), int(Line.SPREAD), int(Line.MINIMUM)
_ROLL, _DELTA, _CROSS = int(Line.ROLL), int(Line.DELTA), int(Line.CROSS)


@inlined
def _historical(state: MarginState, account: int, portfolio: int, end: int) -> bool:
    row, lines = state.portfolios[portfolio], state.risk.lines
    vector = state.risk.vectors[0][: row.scenarios]
    if not vector_of(state, row.set, 0, end, vector) or not add_shocked(state, account, portfolio, vector):
        return False
    lines[_RISK] = historical_loss(state, row, vector)
    lines[_FLOOR] = max(0, value_floor(state, portfolio, 0, end) - lines[_RISK])
    if end > 0:
        lines[_MINIMUM] = max(0, row.minimum - lines[_RISK] - lines[_FLOOR])
    return True


@part
def _group_end(state: MarginState, start: int, end: int) -> int:
    """Bring the selected positions that share the group of the first to the front; returns where they end."""
    risk, group = state.risk, state.instruments[state.risk.mine_row[start]].group
    stop = start + 1
    for i in range(stop, end):
        if state.instruments[risk.mine_row[i]].group == group:
            row, lots = risk.mine_row[i], risk.mine_lots[i]
            risk.mine_row[i], risk.mine_lots[i] = risk.mine_row[stop], risk.mine_lots[stop]
            risk.mine_row[stop], risk.mine_lots[stop] = row, lots
            stop += 1
    return stop


@part
def _net_by_expiry(state: MarginState, start: int, end: int) -> int:
    """Net lots x beside[0] by expiry, into the front of beside[1]; how many expiries, -1 where one is out of range."""
    risk, count = state.risk, 0
    for i in range(start, end):
        expiry, net, first = state.instruments[risk.mine_row[i]].expiry_ns, 0, True
        for k in range(start, end):
            if state.instruments[risk.mine_row[k]].expiry_ns == expiry:
                if abs(float(risk.mine_lots[k]) * float(risk.beside[0, k])) >= 1e18:
                    return -1
                first = first and k >= i
                net += risk.mine_lots[k] * risk.beside[0, k]
        if first:
            risk.beside[1, count] = net
            count += 1
    return count


@part
def _deltas(state: MarginState, start: int, end: int) -> tuple[int, int]:
    """Long and short deltas (1e-6) of one group's expiries: those of an expiry net, those of different expiries do not.

    -1, -1 where one is out of range.
    """
    risk, long, short = state.risk, 0, 0
    for i in range(start, end):
        risk.beside[0, i] = state.instruments[risk.mine_row[i]].risk_delta
    count = _net_by_expiry(state, start, end)
    if count < 0:
        return -1, -1
    for net in risk.beside[1, :count]:
        long, short = long + max(net, 0) // 10**4, short + max(-net, 0) // 10**4
    return long, short


@part
def _roll_of(state: MarginState, start: int, end: int) -> int:
    """Units of the roll shock of one group: of each expiry the net of lots x roll; LIMIT out of range."""
    risk = state.risk
    for i in range(start, end):
        risk.beside[0, i] = state.instruments[risk.mine_row[i]].roll
    count = _net_by_expiry(state, start, end)
    return LIMIT if count < 0 else roll_shock(risk.beside[1, :count])


@part
def _minimums(state: MarginState, end: int) -> None:
    """Micros of each selected position's contract minimum and market value, a lot: beside[0] and beside[1]."""
    risk = state.risk
    for i in range(end):
        held = state.instruments[risk.mine_row[i]]
        risk.beside[0, i], risk.beside[1, i] = held.minimum, held.gross


@part
def _calendar(row: Any, long: int, short: int) -> int:
    """Minor units that spreads between the expiries of one commodity charge (calendar_charge: micros per delta)."""
    return mul_div_up(mul_div_up(min(long, short), row.calendar_charge, E6), 1, E6)


@inlined
def _scan(state: MarginState, portfolio: int, end: int) -> bool:
    """Worst loss of each commodity, calendar charges, credits between commodities, short option minimum."""
    row, risk, lines, start = state.portfolios[portfolio], state.risk, state.risk.lines, 0
    vector = risk.vectors[0][: row.scenarios]
    long, short = risk.deltas[0], risk.deltas[1]
    for leg in range(risk.spreads.first[row.first_spread], risk.spreads.first[row.last_spread]):
        long[risk.spreads.pool[leg]] = short[risk.spreads.pool[leg]] = 0
    total = calendar = 0
    while start < end:
        stop = _group_end(state, start, end)
        if not vector_of(state, row.set, start, stop, vector):
            return False
        total = add_up(total, worst_loss(vector))
        ups, downs = _deltas(state, start, stop)
        if ups < 0:
            return False
        calendar = add_up(calendar, _calendar(row, ups, downs))
        group = state.instruments[risk.mine_row[start]].group
        long[group], short[group] = max(ups - downs, 0), max(downs - ups, 0)
        start = stop
    credit = spread_amount(risk.spreads, row.first_spread, row.last_spread, long, short, True)
    lines[_RISK] = -(-total // UNITS)
    lines[_SPREAD] = max(calendar - credit, -lines[_RISK])
    _minimums(state, end)
    least = short_option_minimum(risk.mine_lots[:end], risk.beside[0, :end])
    lines[_MINIMUM] = max(0, least - lines[_RISK] - lines[_SPREAD])
    return total < LIMIT and calendar < LIMIT


@part
def _delta_of(state: MarginState, row: Any, start: int, end: int) -> int:
    """Minor units of the delta shock of one group; LIMIT out of range."""
    options = others = price = 0
    for i in range(start, end):
        held, lots = state.instruments[state.risk.mine_row[i]], state.risk.mine_lots[i]
        if abs(float(lots) * float(held.risk_delta)) >= 1e18:
            return LIMIT
        price = max(price, held.spot)
        if held.option and lots > 0:
            options += lots * held.risk_delta
        else:
            others += lots * held.risk_delta
    if row.delta_cap == 0 or price == 0:
        return 0
    return delta_shock(options, others, price, COIN, DeltaShock(row.delta_threshold, row.delta_step, row.delta_cap))


@inlined
def _grid(state: MarginState, account: int, portfolio: int, end: int) -> bool:
    """Worst cell over all pairs, each dampened, with the collateral that moves with them; roll and delta shock."""
    row, risk, lines, start = state.portfolios[portfolio], state.risk, state.risk.lines, 0
    vector, total = risk.vectors[0][: row.scenarios], risk.vectors[1][: row.scenarios]
    dampener, roll, delta = risk.dampener[portfolio][: row.scenarios], 0, 0
    for s in range(row.scenarios):
        total[s] = 0
    while start < end:
        stop = _group_end(state, start, end)
        if not vector_of(state, row.set, start, stop, vector):
            return False
        add_pair(vector, dampener, row.gain_cap, row.gain_share, total)
        roll, delta = add_up(roll, _roll_of(state, start, stop)), add_up(delta, _delta_of(state, row, start, stop))
        for s in range(row.scenarios):
            if abs(total[s]) >= LIMIT // 2:
                return False
        start = stop
    if not add_shocked(state, account, portfolio, total):
        return False
    lines[_RISK] = -(-worst_loss(total) // UNITS)
    lines[_ROLL] = -(-roll // UNITS)
    lines[_DELTA] = delta
    return roll < LIMIT and delta < LIMIT


@inlined
def _points(state: MarginState, portfolio: int, end: int) -> bool:
    """The largest loss over the points, a class's gain counting in part against other classes' losses; the minimum."""
    row, risk, lines, start = state.portfolios[portfolio], state.risk, state.risk.lines, 0
    vector, total = risk.vectors[0][: row.scenarios], risk.vectors[1][: row.scenarios]
    for s in range(row.scenarios):
        total[s] = 0
    while start < end:
        stop = _group_end(state, start, end)
        if not vector_of(state, row.set, start, stop, vector):
            return False
        add_class(vector, row.offset, total)
        for s in range(row.scenarios):
            if abs(total[s]) >= LIMIT // 2:
                return False
        start = stop
    lines[_RISK] = -(-worst_loss(total) // UNITS)
    _minimums(state, end)
    least = contract_minimum(risk.mine_lots[:end], risk.beside[0, :end], risk.beside[1, :end])
    lines[_MINIMUM] = max(0, least - lines[_RISK])
    return True


@inlined
def portfolio_requirement(state: MarginState, account: int, portfolio: int, count: int) -> int:
    """Maintenance, minor units, of the gathered positions in one portfolio; its lines are left in risk.lines."""
    row, lines = state.portfolios[portfolio], state.risk.lines
    end = select(state, portfolio, count, 0, False, 0)
    for i in range(len(lines)):
        lines[i] = 0
    if row.model == HISTORICAL:
        known = _historical(state, account, portfolio, end)
    elif row.model == SCAN:
        known = _scan(state, portfolio, end)
    elif row.model == GRID:
        known = _grid(state, account, portfolio, end)
    else:
        known = _points(state, portfolio, end)
    total = 0
    for i in range(len(lines)):
        total = add_up(total, lines[i]) if lines[i] >= 0 else total + lines[i]
    if not known or total >= LIMIT:
        return LIMIT
    lines[_CROSS] = min(0, _after(state, account, portfolio, total) - total)
    return add_charges(state, row, account, end, total + lines[_CROSS])


@inlined
def _after(state: MarginState, account: int, portfolio: int, alone: int) -> int:
    """Minor units that the portfolio requires under the account's agreement, which was worked out before; LIMIT: none.

    What it requires alone is kept beside it, to show what is saved.
    """
    at = state.accounts.agreement[account]
    if at == NONE or not state.agreements[at].active:
        return LIMIT
    row = state.agreements[at]
    if account == row.futures and portfolio == row.cme:
        row.alone_futures = alone
        return int(row.after_futures)
    if account == row.treasury and portfolio == row.ficc:
        row.alone_treasury = alone
        return int(row.after_treasury)
    return LIMIT


@inlined
def _margin(state: MarginState, account: int) -> None:
    """Sum up what the account's portfolios require."""
    together, at = state.accounts.together, state.accounts.agreement[account]
    for c in range(state.now[0].currencies):
        together[c, account, 0] = together[c, account, 1] = 0
    if at != NONE:
        row = state.agreements[at]
        row.touched = 1
        if account == row.futures:
            row.alone_futures = 0
        else:
            row.alone_treasury = 0
        if row.active and not row.done:
            agree(state, at)
    count, portfolios = gather(state, account)
    for p in range(state.now[0].portfolios):
        if portfolios >> p & 1:
            rule = state.portfolios[p]
            maintenance = portfolio_requirement(state, account, p, count)
            initial = LIMIT if maintenance >= LIMIT else mul_div_up(maintenance, rule.initial_ratio, E9)
            together[rule.currency, account, 0] = add_up(together[rule.currency, account, 0], initial)
            together[rule.currency, account, 1] = add_up(together[rule.currency, account, 1], maintenance)


@kernel
def margin_portfolios(state: MarginState) -> None:
    """Margin what is held under portfolio rules by the accounts that are due now, both of an agreement together."""
    accounts = state.accounts
    pair_flags(state)
    for block in range(len(accounts.changed)):
        if accounts.changed[block] != 0:
            for account in range(LINE * block, min(LINE * (block + 1), state.now[0].accounts)):
                if accounts.flags[account] & MARGIN_DUE != 0 and accounts.figures[account].unpriced == 0:
                    if is_margined(state, account):
                        _margin(state, account)


@kernel
def explain_portfolio(state: MarginState, account: int, portfolio: int) -> int:
    """What an account requires in one portfolio, under its agreement as last worked out; lines are left in risk.lines."""
    count, _ = gather(state, account)
    return portfolio_requirement(state, account, portfolio, count)
