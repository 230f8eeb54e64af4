"""A call's audio over Asterisk's chan_websocket: one connection a call, whoever opened it."""
