"""The servers that the tests get are the real ones."""

import psycopg
from aiokafka.admin import AIOKafkaAdminClient
from sqlalchemy import create_engine, text


def test_each_test_has_a_database_of_its_own(store_url: str) -> None:
    engine = create_engine(store_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE only_mine (a INTEGER)"))
    engine.dispose()


def test_a_database_is_fresh(postgres_url: str) -> None:
    with psycopg.connect(postgres_url.replace("+psycopg", "")) as session:
        tables = session.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()

    assert tables == (0,)


async def _topics(kafka: str) -> list[str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        return await admin.list_topics()
    finally:
        await admin.close()


def test_the_broker_answers_a_client(kafka: str) -> None:
    import asyncio

    assert isinstance(asyncio.run(_topics(kafka)), list)
