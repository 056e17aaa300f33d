"""Orpheus, in the order the data flows: prompt → token source → frames → codec → PCM."""
