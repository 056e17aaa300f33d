"""The native door: health, the API page, and what only this server has."""
