"""Kafka: topics, the publisher, the readers that find their place again."""

from adapters.kafka.decoding import guard

guard()
