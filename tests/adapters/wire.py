"""What only clients in other languages send: here from a process of its own, in which aiokafka's builder is Python."""

import os
import subprocess
import sys

_MISNAMED = """
import asyncio, sys
from aiokafka import AIOKafkaProducer

class Misnamed(str):
    def encode(self, *_):
        return b"\\xff\\xfe"

async def send(kafka, topic, partition):
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        await producer.send_and_wait(topic, b"{}", key=b"identity/key/x", headers=[(Misnamed("xx"), b"1")], partition=partition)

asyncio.run(send(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


def send_misnamed(kafka: str, topic: str, partition: int = 0) -> None:
    """A record with a header whose name is not UTF-8."""
    environment = {**os.environ, "AIOKAFKA_NO_EXTENSIONS": "1"}
    subprocess.run([sys.executable, "-c", _MISNAMED, kafka, topic, str(partition)], env=environment, check=True)
