"""Kafka: topics, the relay that publishes, the readers that find their place again."""
