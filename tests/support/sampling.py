"""How tests draw tokens of a tiny checkpoint."""

PUBLISHED = {"top_p": 0.9, "repetition_penalty": 1.1}
"""As Orpheus' authors do."""
PLAIN = {"top_p": 1.0, "repetition_penalty": 1.0}
"""Without a look at the whole vocabulary, in a tenth of a CPU's time: where it is not how tokens are drawn."""
