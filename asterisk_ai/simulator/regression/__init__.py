"""The same conversation through a real Asterisk over every transport: ``asterisk-ai regress``."""
