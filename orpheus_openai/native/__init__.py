"""The native door: everything below /api, and /health, /ready, /metrics."""
