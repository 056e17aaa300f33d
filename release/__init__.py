"""How a release is made; see CONTRIBUTING.md."""
