"""A call's audio as RTP: one pair of UDP addresses a call."""
