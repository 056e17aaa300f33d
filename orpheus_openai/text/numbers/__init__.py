"""What is written in figures and signs, in the words of a language."""
