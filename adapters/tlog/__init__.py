"""Transparency logs: RFC 6962 trees, C2SP tiles, signed notes, checkpoints, cosignatures and proofs.

Bytes in, bytes out: nothing here reads a database, a broker or a clock. The formats are public (c2sp.org), so what is
written here is read by verifiers that we did not write, and the other way round.
"""
