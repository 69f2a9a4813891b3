"""The page for people: one HTML document that loads nothing."""

from datetime import UTC, datetime, timedelta
from html import escape
from typing import Final

from adapters.audit.policy import Policy
from adapters.http.published import Overview
from adapters.tlog.checkpoints import Checkpoint

_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}"
    "h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}code,pre{font:14px/1.5 ui-monospace,monospace}"
    "pre{background:#f3f4f6;padding:.75rem;overflow-x:auto}table{border-collapse:collapse}"
    "th,td{text-align:left;padding:.2rem 1.5rem .2rem 0;vertical-align:top}td.n{text-align:right}"
    ".bad{color:#b00020;font-weight:600}"
    "@media(prefers-color-scheme:dark){body{color:#e6e6e6;background:#16181c}pre{background:#23262c}.bad{color:#ff6b81}"
    "a{color:#8ab4ff}}"
)


def page(found: Overview, policy: Policy | None, now: datetime) -> str:
    """What is signed, who cosigned it, how far each shard is, and how to verify all of it."""
    head = Checkpoint.parse(found.note[: found.note.rindex("\n\n") + 1])
    sections = [
        f"<h1>Audit log <code>{escape(head.origin)}</code></h1>",
        _warning(found),
        _rows(
            ("Size", f"{head.size:,} entries"),
            ("Root hash", f"<code>{head.root.hex()}</code>"),
            ("Newest record", _age(found.newest_record, now)),
            ("Witnessed", _witnessed(found, policy)),
        ),
        f"<h2>The newest signed head</h2><pre>{escape(found.note)}</pre>",
        "<h2>Cosignatures under it</h2>" + _cosignatures(found),
        "<h2>Shards</h2>" + _shards(found),
        "<h2>How to verify</h2>" + _how(head.origin),
    ]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Audit log {escape(head.origin)}</title><style>{_STYLE}</style>{''.join(sections)}</html>\n"
    )


def _warning(found: Overview) -> str:
    if not found.is_refused:
        return ""
    return '<p class="bad">A witness refused a head of this log: nothing is signed until somebody has looked into it.</p>'


def _age(newest: str | None, now: datetime) -> str:
    if newest is None:
        return "none yet"
    age = max(timedelta(), now - datetime.fromisoformat(newest))
    return f"{escape(newest)}, {timedelta(seconds=round(age.total_seconds()))} ago"


def _witnessed(found: Overview, policy: Policy | None) -> str:
    if policy is None:
        return "this log has no witness policy"
    if found.witnessed is None:
        return '<span class="bad">no head meets the policy yet</span>'
    behind = found.size - found.witnessed
    return f'<a href="checkpoint.witnessed">{found.witnessed:,} entries</a>' + (f", {behind:,} behind" if behind else "")


def _cosignatures(found: Overview) -> str:
    if not found.cosignatures:
        return "<p>None yet.</p>"
    times = [(datetime.fromtimestamp(each.posix_seconds, UTC), each.key.name) for each in found.cosignatures]
    return _rows(*((escape(name), f"{time:%Y-%m-%d %H:%M:%S} UTC") for time, name in times))


def _shards(found: Overview) -> str:
    lines = [
        f'<tr><td><code>{escape(shard.name)}</code><td class="n">{shard.next:,}'
        f"<td>{'<span class=bad>halted</span>' if shard.is_halted else ''}"
        for shard in found.shards
    ]
    return f"<table><tr><th>Shard<th>Next sequence<th>{''.join(lines)}</table>"


def _how(origin: str) -> str:
    return (
        "<p>Every format here is public: <code>c2sp.org/tlog-tiles</code>, <code>tlog-checkpoint</code>, "
        "<code>tlog-witness</code>, <code>tlog-proof</code> and RFC 6962. Get the log's key and the policy from somebody you "
        f"trust, not from this page, and check that the origin is <code>{escape(origin)}</code>. Keep the head that you "
        "verified: the next one must be consistent with it.</p>"
        "<pre>GET checkpoint              the newest signed head\n"
        "GET checkpoint.witnessed    the newest one with enough cosignatures\n"
        "GET tile/&lt;L&gt;/&lt;N&gt;[.p/&lt;W&gt;]  hashes of the tree\n"
        "GET proof/&lt;index&gt;           that an entry is in it\n"
        "GET consistency?old=&lt;N&gt;     that nothing was rewritten since a head that you kept\n"
        "GET policy                  which witnesses cosign, and how many must</pre>"
    )


def _rows(*rows: tuple[str, str]) -> str:
    return "<table>" + "".join(f"<tr><th>{name}<td>{value}" for name, value in rows) + "</table>"
