"""Everything a node refuses, with NGAS's message codes and the HTTP status of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

# (number, kind) by name; the numbers are part of the protocol.
CODES: Final[dict[str, tuple[int, str]]] = {
    "NGAMS_ER_DISK_INACCESSIBLE": (3004, "ERROR"),
    "NGAMS_ER_ONLINE_PLUGIN": (3008, "ERROR"),
    "NGAMS_AL_NO_TARGET_DISK": (3015, "ALERT"),
    "NGAMS_ER_NO_DISK_SPACE": (3022, "ERROR"),
    "NGAMS_ER_DAPI_BAD_FILE": (4003, "ERROR"),
    "NGAMS_ER_REQ_HANDLING": (4010, "ERROR"),
    "NGAMS_ER_ARCHIVE_PUSH_REQ": (4011, "ERROR"),
    "NGAMS_ER_ARCHIVE_PULL_REQ": (4012, "ERROR"),
    "NGAMS_ER_MISSING_URI": (4013, "ERROR"),
    "NGAMS_ER_UNKNOWN_MIME_TYPE1": (4014, "ERROR"),
    "NGAMS_ER_IMPROPER_STATE": (4015, "ERROR"),
    "NGAMS_ER_ILL_REQ": (4017, "ERROR"),
    "NGAMS_ER_RETRIEVE_CMD": (4018, "ERROR"),
    "NGAMS_ER_UNAVAIL_FILE": (4019, "ERROR"),
    "NGAMS_ER_UNKNOWN_DISK": (4020, "ERROR"),
    "NGAMS_WA_BUF_DATA": (4022, "WARNING"),
    "NGAMS_INFO_FILE_AVAIL": (4029, "INFO"),
    "NGAMS_ER_ILL_DPPI": (4034, "ERROR"),
    "NGAMS_ER_CMD_SYNTAX": (4035, "ERROR"),
    "NGAMS_ER_CMD_EXEC": (4036, "ERROR"),
    "NGAMS_INFO_FILE_DEL_STAT": (4040, "INFO"),
    "NGAMS_INFO_DEL_DISK": (4043, "INFO"),
    "NGAMS_INFO_DEL_DISK_SEL": (4044, "INFO"),
    "NGAMS_WA_FILE_COPIES": (4046, "WARNING"),
    "NGAMS_ER_TARG_DISK": (4048, "ERROR"),
    "NGAMS_ER_FILE_CLONE_FAILED": (4052, "ERROR"),
    "NGAMS_ER_CLONE_REJECTED": (4053, "ERROR"),
    "NGAMS_ER_FILE_REG_FAILED": (4055, "ERROR"),
    "NGAMS_INFO_FILE_OK": (4056, "INFO"),
    "NGAMS_ER_FILE_NOK": (4057, "ERROR"),
    "NGAMS_ER_ILL_REQ_ID": (4059, "ERROR"),
    "NGAMS_ER_ILL_URI": (4060, "ERROR"),
    "NGAMS_ER_MAX_REQ_EXCEEDED": (4062, "ERROR"),
    "NGAMS_ER_DISCARD_NOT_FOUND": (4063, "ERROR"),
    "NGAMS_INFO_DISCARD_GRANTED": (4065, "INFO"),
    "NGAMS_INFO_DISCARD_OK": (4066, "INFO"),
    "NGAMS_INFO_ARCH_REQ_OK": (4068, "INFO"),
    "NGAMS_ER_ARCH_REQ_NOK": (4069, "ERROR"),
    "NGAMS_ER_ARCH_RECV": (4070, "ERROR"),
}


class Refused(Exception):
    """A request is not done; the text is the Message of the answer."""

    def __init__(self, message: str, status: int = 400, *, close: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.close = close  # the rest of the request's body is not worth reading


def coded(name: str, text: str) -> str:
    """Return a catalogued message: ``NAME:number:KIND: text``."""
    number, kind = CODES[name]
    return f"{name}:{number}:{kind}: {text}"


def unavailable(file_id: str, version: int | None = None) -> Refused:
    """No such file, or no such version of it, on any mounted disk."""
    which = file_id if version is None else f"{file_id}/Version: {version}"
    return Refused(coded("NGAMS_ER_UNAVAIL_FILE", f"File with ID: {which} is not available here."))


def improper_state(
    what: str, state: str, sub_state: str, states: Sequence[str], sub_states: Sequence[str]
) -> Refused:
    """The node's state does not allow it."""
    return Refused(
        coded(
            "NGAMS_ER_IMPROPER_STATE",
            f"{what} is not possible in State/Sub-State {state}/{sub_state}; "
            f"it needs {list(states)}/{list(sub_states)}.",
        )
    )


def not_permitted(kind: str, attribute: str) -> Refused:
    """The configuration does not allow this kind of request."""
    return Refused(
        coded(
            "NGAMS_ER_ILL_REQ",
            f"This node is not configured for {kind} Requests ({attribute}=0).",
        )
    )


def for_the_main_node(command: str) -> Refused:
    """A data mover does not do that."""
    text = (
        f"Command {command} is not for a data mover, which neither archives nor removes; "
        "send it to the node whose volumes these are."
    )
    return Refused(coded("NGAMS_ER_ILL_REQ", text), close=True)


def bad_syntax(command: str, wanted: str) -> Refused:
    """Parameters are missing or do not go together."""
    return Refused(
        coded("NGAMS_ER_CMD_SYNTAX", f"The command {command} cannot be read; it needs {wanted}.")
    )


def no_room() -> Refused:
    """No volume takes the file."""
    return Refused(
        coded("NGAMS_ER_NO_DISK_SPACE", "No volume of this node has room for the file."), 507
    )
