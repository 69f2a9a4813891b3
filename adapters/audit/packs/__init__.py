"""Proof packs and export bundles: deterministic zips that show, to whoever does not trust us, what the log holds.

A pack proves one event or one stream, a bundle a contiguous range of entries or what fits a filter. Both hold what the
standalone verifier needs to check them without us: entries and proofs, the signed head, seals, the keys of everybody who
signed, their commands, and what became of personal data.
"""

from adapters.audit.packs.contents import bundle, command_document
from adapters.audit.packs.enclosed import Enclosed, Kept, KeptCommands, Openings, commands_in
from adapters.audit.packs.writing import Written, write_bundle, write_pack
from adapters.audit.packs.zips import FORMAT

__all__ = [
    "FORMAT", "Enclosed", "Kept", "KeptCommands", "Openings", "Written", "bundle", "command_document", "commands_in",
    "write_bundle", "write_pack",
]  # fmt: skip
