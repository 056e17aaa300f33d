"""The page at /: speak, listen, keep, and see how the GPU is."""
