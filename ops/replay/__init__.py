"""Replay as an analyst asks for it: what composes sources, scratch tables and a deployment, and what-ifs of each context."""
