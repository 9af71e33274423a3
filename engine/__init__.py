"""The margin engine: a pure function of a prefix of a shard's log. No I/O, no clock, no environment."""
