"""Where results go and are looked at: Redis, alerts, Prometheus."""
