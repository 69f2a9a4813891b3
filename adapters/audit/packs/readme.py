"""The text for an auditor that every pack holds."""

from typing import Final

README: Final = """\
What this is
  Entries of an audit log (an append-only Merkle tree, RFC 6962), and everything that is needed to check them without
  whoever gave you this file: nobody has to be trusted but the keys of the log, of its witnesses and of the network.

How to check it
  python auditverify.py PACK --policy POLICY --genesis GENESIS [--since CHECKPOINT]

  It needs Python 3.11 and the library PyNaCl; for signatures by wallets also coincurve and pycryptodome. Take the
  verifier from a source that you trust (it has 800 lines, and the copy in here came with the pack), and the policy and the
  genesis by another way than this file. CHECKPOINT is the file `checkpoint` of an earlier pack, if you kept one.

What it answers
  0  verified          everything that this pack claims
  1  tampering shown   the first check, entry and file that show it are named
  2  usage             a file is missing, or is no pack
  3  inconclusive      something needed is missing or unknown (quorum, key, policy, command): not the same as verified

What is in it
  manifest.json   what was asked for, and the hash and size of every file
  checkpoint      the signed head of the log, with its witnesses' cosignatures (c2sp.org/tlog-checkpoint)
  consistency     subtrees (height, hash) that lead from an older head to this one: those of the older tree, then the rest
  entries/        records and seals, byte for byte; a range as bundles (c2sp.org/tlog-tiles)
  range.json      the subtrees to the left and to the right of the range: with its entries they give the root
  proofs/         for each entry that stands alone its proof (c2sp.org/tlog-proof)
  seals/          for each entry the seal of its batch: which records it holds, so that none is left out
  keys/           who registered and revoked the keys that signed
  persons/        the consent of others, where one person alone could not decide
  commands/       who asked: each event's command with its signature, and the outcome
  opened.json     personal data that the reader may see, with the salts that prove it
  erasures.json   personal data that can no longer be seen: where its key was destroyed, and who ordered it (erasures/)
"""
