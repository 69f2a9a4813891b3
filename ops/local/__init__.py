"""Servers of our own on this machine, without Docker: Kafka and PostgreSQL, for people, tests and demonstrations."""
