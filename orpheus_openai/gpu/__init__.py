"""The GPUs of this machine, and the one manager that decides which models are on them."""
