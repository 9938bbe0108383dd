"""From events to windows and sizes, whole buckets at a time."""
