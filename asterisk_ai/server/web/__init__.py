"""The page in the browser, ``asterisk-ai web``: a process of its own, that calls do not notice.

It reads the store of calls, and asks the running server over HTTP. Nothing here carries a call's audio, and nothing
that does imports from here.
"""
