"""What every HTTP door shares: bodies, errors, streams, and what the API page says of them."""
