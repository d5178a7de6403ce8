"""The exports of other chats, as sessions. Pure: bytes to values.

Each kind has a module with ``SOURCE``, ``is_one`` (whether a JSON value is one of its
conversations) and ``read`` (the conversation). What is missing or strange in a conversation is left
out: these formats have no documentation, and change.
"""
