"""The OpenAI door: /v1/audio/speech, /v1/models, voices, and OpenAI's errors."""
