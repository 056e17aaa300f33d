"""Who may speak now."""
