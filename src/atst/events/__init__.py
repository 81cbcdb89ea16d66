"""What annotation programs write: events with times, read from their tables and written as such again."""
