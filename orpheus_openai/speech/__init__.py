"""A request becomes sound."""
