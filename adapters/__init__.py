"""The outside world, one module per technology. `paper.py` holds the in-memory twins of the ports."""
