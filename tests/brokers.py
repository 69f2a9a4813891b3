"""What has to be undone before a broker is somebody else's: the topics' names are fixed, and members stay in their groups."""

import socket
import struct
import time

from confluent_kafka.admin import AdminClient


def clear(kafka: str) -> None:
    """No topic but the broker's own, and nobody in a group by a name that stays."""
    leave_groups(kafka)
    admin = AdminClient({"bootstrap.servers": kafka})
    delete_topics(kafka, *(name for name in admin.list_topics(timeout=20).topics if not name.startswith("__")))


def delete_topics(kafka: str, *names: str) -> None:
    """Those of the names that are there; return when none of them is to be seen any more."""
    admin = AdminClient({"bootstrap.servers": kafka})
    unwanted = set(names) & set(admin.list_topics(timeout=20).topics)
    for answer in admin.delete_topics(sorted(unwanted)).values() if unwanted else ():
        answer.result()
    deadline = time.monotonic() + 60
    while left := unwanted & set(admin.list_topics(timeout=20).topics):
        assert time.monotonic() < deadline, f"{left} are still there"
        time.sleep(0.05)


def leave_groups(kafka: str) -> None:
    """Take static members out of their groups: whoever comes next would wait until their sessions are over."""
    admin = AdminClient({"bootstrap.servers": kafka})
    names = [group.group_id for group in admin.list_consumer_groups().result().valid]
    if not names:
        return
    host, _, port = kafka.rpartition(":")
    with socket.create_connection((host, int(port)), 10) as connection, connection.makefile("rb") as answers:
        for name, described in admin.describe_consumer_groups(names).items():
            ids = [member.group_instance_id for member in described.result().members if member.group_instance_id]
            # LeaveGroup, version 3: the group, then by the instance ids alone.
            body = _text(name) + struct.pack(">i", len(ids)) + b"".join(_text("") + _text(instance) for instance in ids)
            request = struct.pack(">hhih", 13, 3, 0, -1) + body
            if ids:
                connection.sendall(struct.pack(">i", len(request)) + request)
                answers.read(*struct.unpack(">i", answers.read(4)))


def _text(value: str) -> bytes:
    return struct.pack(">h", len(value)) + value.encode()
