"""The command worker: signed commands from Kafka, decided in batches, durable in one transaction each."""
