"""Calls whose audio comes as RTP, through Asterisk's REST interface."""
