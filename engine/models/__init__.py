"""Margin models: vectors of profit and loss by scenario become requirements; and what clearing houses agree between them."""
