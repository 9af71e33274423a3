"""Scenario sets out of history: moves, their filter, named stress days, hashes, and the judgement of a margin's coverage."""
