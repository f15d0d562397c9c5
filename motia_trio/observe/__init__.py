"""What people and machines are shown of what happens."""

from motia_trio.observe.logs import JsonFormatter, LoggingObserver, TextFormatter

__all__ = ["JsonFormatter", "LoggingObserver", "TextFormatter"]
