"""What cross-margin rules take, and which agreements: documents as engine/models/cross_margin.py sees them."""

from datetime import date

from engine.documents import Agreement, Instrument, Rule
from engine.models import cross_margin
from engine.parameters import Parameters


def is_eligible(document: Instrument, rule: Rule | None, today: date) -> bool:
    """Whether a cross-margin rule takes an instrument: its product, and of a Treasury or repo the maturity."""
    return rule is not None and not cross_margin.position_reasons(
        position_of(document), today, conditions_of(rule.parameters)
    )


def position_of(document: Instrument) -> cross_margin.Position:
    """An instrument as the conditions of cross-margin see it: its product, else its type."""
    is_treasury = document.type in ("treasury", "repo")
    maturity = None if document.maturity is None else date.fromisoformat(document.maturity)
    return cross_margin.Position(document.product or document.type, is_treasury, maturity)


def conditions_of(p: Parameters) -> cross_margin.Conditions:
    """The conditions that a cross-margin rule's parameters make."""
    return cross_margin.Conditions("", frozenset(p.products or ()), p.years or 0)


def reasons_against(document: Agreement, p: Parameters, pools: list[str]) -> list[str]:
    """Why an agreement is not in force, as far as firm, accounts and their pools say; p: of its rule."""
    firm = document.firm
    inside = all(pool in (p.pools or ()) for pool in pools)
    account = cross_margin.Account(
        document.futures_entity, document.treasury_entity, document.signed, document.designated, "" if inside else "another"
    )
    registered = cross_margin.Firm(firm.broker_dealer, firm.futures_commission_merchant, firm.cme_member, firm.ficc_member)
    return [str(reason) for reason in cross_margin.account_reasons(registered, account, conditions_of(p))]
