"""Why an event was not applied: every reject reason of the project, listed once."""

from enum import IntEnum
from typing import Final

SUPERSEDED: Final = 254  # a result beside the codes: older than what is held
REDELIVERED: Final = 255  # and: at or below its origin's watermark


class Code(IntEnum):
    """Reject reasons: 1-31 are form (the sequencer's business), from 32 on meaning (the engine's)."""

    OK = 0
    # form: from the message and the directory alone
    TOO_LARGE = 1
    NOT_JSON = 2
    BAD_FIELD = 3
    OUT_OF_RANGE = 4
    UNKNOWN_ACCOUNT = 5
    UNKNOWN_INSTRUMENT = 6
    UNKNOWN_ASSET = 7
    UNKNOWN_NAME = 8
    TOO_MANY = 9
    TIME_JUMP = 10
    CHANGED_DEFINITION = 11
    KEY_COLLISION = 12
    # meaning: from the state, deterministically
    DUPLICATE = 32
    AHEAD_OF_TIME = 33
    EXPIRED = 34
    OFF_LOT = 35
    OFF_TICK = 36
    OFF_UNIT = 37
    OUT_OF_BAND = 38
    AS_OF_CONFLICT = 39
    ALREADY_INCLUDED = 40
    NOT_TRADABLE = 41
    NEGATIVE_HOLDING = 42
    POSITION_RANGE = 43
    REFUSED_DEFINITION = 44
    UNKNOWN_CALL = 45
    FULL_ACCOUNTS = 48
    FULL_POSITIONS = 49
    FULL_INSTRUMENTS = 50
    FULL_ASSETS = 51
    FULL_CURRENCIES = 52
    FULL_FACTORS = 53
    FULL_VOLATILITIES = 54
    FULL_RULES = 55
    FULL_ORIGINS = 56
    FULL_CALENDARS = 57
    FULL_SCENARIOS = 58
    FULL_POOLS = 59
    FULL_STATEMENTS = 60

    @property
    def reason(self) -> str:
        """The name outsiders see: reject JSON, metric label, manifest."""
        return self.name.lower()

    @property
    def is_form(self) -> bool:
        """Whether the sequencer gave this verdict, from the message and the directory alone."""
        return 0 < self < 32


EXPLANATION: dict[Code, str] = {
    Code.TOO_LARGE: "the message is over 1 MiB",
    Code.NOT_JSON: "the message is not UTF-8 JSON, or neither an object nor an array of objects",
    Code.BAD_FIELD: "a field is missing, unknown, of the wrong type, or not one of the allowed values",
    Code.OUT_OF_RANGE: "a number is not finite, has too many decimals, or is outside the range of its field",
    Code.UNKNOWN_ACCOUNT: "the account is not defined",
    Code.UNKNOWN_INSTRUMENT: "the instrument is not defined",
    Code.UNKNOWN_ASSET: "the asset is not defined",
    Code.UNKNOWN_NAME: "a reference document names something that is not defined",
    Code.TOO_MANY: "the array holds more than 4,096 events",
    Code.TIME_JUMP: "the event is over 4 days past the latest one of a log in event time",
    Code.CHANGED_DEFINITION: "a definition changes what may never change (customer, currency, multiplier, lot, tick, ...)",
    Code.KEY_COLLISION: "another id has the same 64-bit key",
    Code.DUPLICATE: "an event with this id was applied before",
    Code.AHEAD_OF_TIME: "the event's time is ahead of the log's by more than the limit",
    Code.EXPIRED: "the instrument has expired",
    Code.OFF_LOT: "the quantity is not a whole number of lots",
    Code.OFF_TICK: "the price is not a whole number of ticks",
    Code.OFF_UNIT: "the quantity is finer than the asset's smallest unit",
    Code.OUT_OF_BAND: "the price is outside the instrument's static band",
    Code.AS_OF_CONFLICT: "the position is older than what was already applied to it",
    Code.ALREADY_INCLUDED: "the trade is not after the start-of-day position that includes it",
    Code.NOT_TRADABLE: "positions cannot be held in this type of instrument",
    Code.NEGATIVE_HOLDING: "more collateral is taken than is held",
    Code.POSITION_RANGE: "the position, its money or an exposure would leave the exact range",
    Code.REFUSED_DEFINITION: "a reference document contradicts itself or what is defined",
    Code.UNKNOWN_CALL: "the account has no open margin call of this id",
    Code.FULL_ACCOUNTS: "the limit of accounts is reached",
    Code.FULL_POSITIONS: "the limit of positions is reached",
    Code.FULL_INSTRUMENTS: "the limit of instruments is reached",
    Code.FULL_ASSETS: "the limit of assets is reached",
    Code.FULL_CURRENCIES: "the limit of currencies is reached",
    Code.FULL_FACTORS: "the limit of risk factors is reached",
    Code.FULL_VOLATILITIES: "the limit of volatilities is reached",
    Code.FULL_RULES: "the limit of rules is reached",
    Code.FULL_CALENDARS: "the limit of calendars is reached",
    Code.FULL_SCENARIOS: "the limit of scenario sets, or of scenarios in one, is reached",
    Code.FULL_POOLS: "the limit of pools is reached",
    Code.FULL_STATEMENTS: "the limit of statements is reached",
    Code.FULL_ORIGINS: "an input has more partitions than the log's limit",
}
