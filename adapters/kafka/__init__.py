"""Kafka: topics, the publisher, the readers that find their place again."""
