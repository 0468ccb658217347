"""Who one is for which server: said for this call, kept by ``login``, or in ``.netrc``."""

import json
import netrc
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from yarl import URL

from pyvospace_ngas.cli.vo.sentences import Usage

OTHERS: Final = 0o077  # the bits of a mode that let anybody else in


@dataclass(frozen=True, slots=True)
class Login:
    """What is kept of one server. A token is kept rather than a password."""

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    token_id: str | None = None
    expires: str | None = None

    @property
    def is_anonymous(self) -> bool:
        """Tell whether nothing here proves anything."""
        return self.token is None and self.password is None


@dataclass(frozen=True, slots=True)
class Kept:
    """The file of log-ins: by the address of the service, and which one is meant without one."""

    default: str | None = None
    logins: Mapping[str, Login] = field(default_factory=dict)


def place() -> Path:
    """Return where log-ins are kept."""
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "ngas_vo" / "credentials"


def load() -> Kept:
    """Return what is kept; refuse a file that others can read."""
    path = place()
    try:
        _private(path)
        found = json.loads(path.read_text(encoding="utf-8"))
        logins = {url: Login(**values) for url, values in found["logins"].items()}
        return Kept(found.get("default"), logins)
    except FileNotFoundError:
        return Kept()
    except (ValueError, TypeError, KeyError, AttributeError):
        raise Usage(f"{path} is damaged: delete it and run `ngas_vo login`") from None


def save(kept: Kept) -> None:
    """Write the file anew, readable for its owner only at every moment."""
    path = place()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    logins = {url: asdict(login) for url, login in kept.logins.items()}
    descriptor, name = tempfile.mkstemp(prefix=".credentials-", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"default": kept.default, "logins": logins}, file, indent=2)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def address(said: str | None, kept: Kept) -> str | None:
    """Return the service that is meant: on the command line, in the environment, or kept."""
    url = said or os.environ.get("NGAS_VO_URL") or kept.default
    return None if url is None else url.rstrip("/")


def find(url: str, token_file: str | None, kept: Kept) -> Login:
    """Return how to log in at ``url``; nobody in particular where nothing is known."""
    if token_file is not None:
        path = Path(token_file)
        _private(path)
        return Login(token=_token(path.read_text(encoding="utf-8"), token_file))
    if said := os.environ.get("NGAS_VO_TOKEN"):
        return Login(token=_token(said, "NGAS_VO_TOKEN"))
    return kept.logins.get(url) or _from_netrc(URL(url).host) or Login()


def _token(text: str, where: str) -> str:
    token = text.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise Usage(f"{where} holds no token: it is one word, as `ngas_vo token add` prints it")
    return token


def _from_netrc(host: str | None) -> Login | None:
    path = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    if host is None or not path.is_file():
        return None
    try:
        found = netrc.netrc(str(path)).authenticators(host)
    except (netrc.NetrcParseError, UnicodeDecodeError):
        raise Usage(f"{path} cannot be read: a line of it is malformed") from None
    if found is None:
        return None
    _private(path)
    user, _, password = found
    return Login(user=user, password=password)


def _private(path: Path) -> None:
    if path.stat().st_mode & OTHERS and path.is_file():
        raise Usage(f"{path} can be read by others: run `chmod 600 {path}`")
