"""AI voice agents on Asterisk PBXs."""

__version__ = "0.1.0"
