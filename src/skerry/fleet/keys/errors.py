"""What the key space refuses, with the codes that etcd's users' programs look for.

    KeysError    a code of etcd v2, its message, a cause (often the path) and the index at the time

Codes and messages: https://etcd.io/docs/v2.3/errorcode/
"""

from __future__ import annotations

import enum

from skerry.kit.errors import SkerryError


class Code(enum.IntEnum):
    KEY_NOT_FOUND = 100
    COMPARE_FAILED = 101
    NOT_A_FILE = 102
    NOT_A_DIRECTORY = 104
    KEY_EXISTS = 105
    ROOT_IS_READ_ONLY = 107
    DIRECTORY_NOT_EMPTY = 108
    PREV_VALUE_REQUIRED = 201
    TTL_NOT_A_NUMBER = 202
    INDEX_NOT_A_NUMBER = 203
    INVALID_FIELD = 209
    INVALID_FORM = 210
    REFRESH_WITH_VALUE = 211
    REFRESH_WITHOUT_TTL = 212
    INTERNAL = 300
    WATCHER_CLEARED = 400
    INDEX_CLEARED = 401


MESSAGES = {
    Code.KEY_NOT_FOUND: "Key not found",
    Code.COMPARE_FAILED: "Compare failed",
    Code.NOT_A_FILE: "Not a file",
    Code.NOT_A_DIRECTORY: "Not a directory",
    Code.KEY_EXISTS: "Key already exists",
    Code.ROOT_IS_READ_ONLY: "Root is read only",
    Code.DIRECTORY_NOT_EMPTY: "Directory not empty",
    Code.PREV_VALUE_REQUIRED: "PrevValue is Required in POST form",
    Code.TTL_NOT_A_NUMBER: "The given TTL in POST form is not a number",
    Code.INDEX_NOT_A_NUMBER: "The given index in POST form is not a number",
    Code.INVALID_FIELD: "Invalid field",
    Code.INVALID_FORM: "Invalid POST form",
    Code.REFRESH_WITH_VALUE: "Value provided on refresh",
    Code.REFRESH_WITHOUT_TTL: "A TTL must be provided on refresh",
    Code.INTERNAL: "Raft Internal Error",
    Code.WATCHER_CLEARED: "watcher is cleared due to etcd recovery",
    Code.INDEX_CLEARED: "The event in requested index is outdated and cleared",
}


class KeysError(SkerryError):
    """A request that the key space refuses; `index` is where the store stood."""

    def __init__(self, code: Code, cause: str, index: int = 0) -> None:
        self.code = code
        self.text = MESSAGES[code]
        self.cause = cause
        self.index = index
        super().__init__(f"{code.value}: {self.text} ({cause}) [{index}]")
