"""The ElevenLabs door: text-to-speech over HTTP and sockets, voices, models, and ElevenLabs' errors."""
