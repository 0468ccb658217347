"""``login``, ``logout`` and ``token``: who one is, and what programs log in with instead."""

import argparse
import asyncio
import getpass
import ipaddress
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from yarl import URL

from pyvospace_ngas import errors
from pyvospace_ngas.cli.vo import credentials, options
from pyvospace_ngas.cli.vo.credentials import Kept, Login
from pyvospace_ngas.cli.vo.screen import Screen, table
from pyvospace_ngas.cli.vo.sentences import Usage
from pyvospace_ngas.cli.vo.session import Session, each, found
from pyvospace_ngas.client.account import Record
from pyvospace_ngas.client.vospace import VOSpace
from pyvospace_ngas.errors import VOSpaceError

if TYPE_CHECKING:
    from pyvospace_ngas.cli.vo.options import Parts

HEAD: Final = ("ID", "SCOPE", "PATH", "CREATED", "EXPIRES", "USED")


def add_commands(parts: "Parts") -> None:
    """Add the commands."""
    login = options.local(parts, "login", _login, "log in, and keep a token for the next time")
    login.add_argument("--user", metavar="NAME")
    login.add_argument("--password-stdin", action="store_true", help="read it from stdin")
    login.add_argument("--expires", metavar="TIME", help="for the token: 30d, 12h, 1y, ...")
    login.add_argument(
        "--keep-password", action="store_true", help="without asking, where there are no tokens"
    )
    options.local(parts, "logout", _logout, "forget the log-in, and end its token")
    help_ = "what programs log in with in place of a password; alone it lists yours"
    token = options.group(parts, "token", _list, help_)
    add = options.command(token, "add", _add, "make a token and print it, once")
    add.add_argument("--expires", metavar="TIME", help="30d (if not said), 12h, 4w, 1y, ...")
    add.add_argument("--scope", choices=("read", "write"), default="write")
    add.add_argument("--path", metavar="PATH", help="good for this node and what is below it")
    options.command(token, "list", _list, "list your tokens")
    revoke = options.command(token, "revoke", _revoke, "end tokens, and those made by them")
    revoke.add_argument("ids", nargs="+", metavar="ID")


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C end a question at once, which an event loop would keep it from."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def ask(question: str, how: Callable[[str], str] = input) -> str:
    """Ask the person at the terminal."""
    if not sys.stdin.isatty():
        raise Usage(f"there is no terminal to ask on: {question.rstrip(': ')}")
    with interruptible():
        try:
            return how(question).strip()
        except EOFError:
            raise KeyboardInterrupt from None


async def _login(screen: Screen, args: argparse.Namespace) -> None:
    kept = credentials.load()
    url = credentials.address(args.url, kept) or ask("address of the service (--url): ")
    url = await _service(url.rstrip("/"))
    _warn_of_plain_text(screen, url)
    user = args.user or ask("user (--user): ")
    password = (
        sys.stdin.readline().rstrip("\r\n")
        if args.password_stdin
        else ask(f"password for {user} (--password-stdin): ", getpass.getpass)
    )
    login = await _proven(screen, args, url, user, password)
    old = kept.logins.get(url)
    credentials.save(Kept(url, {**kept.logins, url: login}))
    if old is not None and old.token_id is not None:
        await _end(url, old)
    until = f", until {login.expires}" if login.expires else ""
    screen.say(f"logged in to {url} as {user}{until}; kept in {credentials.place()}")


async def _service(url: str) -> str:
    """Return the address of the service that is at ``url``, or where it usually is below."""
    try:
        async with VOSpace(url) as client:
            await found(client, url)
    except Usage:
        below = f"{url}/vospace"
        with suppress(Usage):
            async with VOSpace(below) as client:
                await found(client, below)
            return below
        raise
    return url


async def _proven(
    screen: Screen, args: argparse.Namespace, url: str, user: str, password: str
) -> Login:
    """Return what is to be kept, after the server has taken it."""
    async with VOSpace(url, user, password) as client:
        await client.service()
        try:
            made = await client.add_token(expires=args.expires)
        except errors.InvalidArgument:
            raise
        except VOSpaceError as error:
            if type(error) is not VOSpaceError:
                raise
        else:
            return Login(
                user, None, _text(made, "token"), _text(made, "id"), _text(made, "expires")
            )
    question = "this server has no tokens; keep the password itself (--keep-password)? [y/N] "
    if not (args.keep_password or ask(question).lower() in ("y", "yes")):
        raise Usage("nothing was kept; ~/.netrc and NGAS_VO_TOKEN are other ways")
    screen.say("the password is kept as it is, in a file that only you can read")
    return Login(user, password)


def _warn_of_plain_text(screen: Screen, url: str) -> None:
    parsed = URL(url)
    host = parsed.host or ""
    with suppress(ValueError):
        if ipaddress.ip_address(host).is_loopback:
            return
    if parsed.scheme == "http" and host != "localhost":
        screen.warn(f"{url} is not https: passwords and bytes can be read on the way")


async def _logout(screen: Screen, args: argparse.Namespace) -> None:
    kept = credentials.load()
    url = credentials.address(args.url, kept)
    if url is None or url not in kept.logins:
        raise Usage("you are not logged in" + (f" to {url}" if url else ""))
    await _end(url, kept.logins[url])
    left = {name: login for name, login in kept.logins.items() if name != url}
    default = kept.default if kept.default in left else next(iter(left), None)
    credentials.save(Kept(default, left))
    screen.say(f"logged out of {url}")


async def _end(url: str, login: Login) -> None:
    """End a token that is kept no more; one that has ended, or a server that is away, is fine."""
    if login.token is None or login.token_id is None:
        return
    with suppress(VOSpaceError, OSError, TimeoutError):
        async with asyncio.timeout(10), VOSpace(url, token=login.token) as client:
            await client.revoke_token(login.token_id)


async def _add(session: Session, args: argparse.Namespace) -> None:
    path = None if args.path is None else str(session.path(args.path))
    made = await session.client.add_token(args.scope, path, args.expires)
    if args.json:
        session.screen.record(made)
        return
    # The token alone goes where a program reads it.
    session.screen.warn(
        f"token {made.get('id')}: {made.get('scope')} {made.get('path')}, until"
        f" {made.get('expires')}; it is not shown again"
    )
    session.screen.print(_text(made, "token"))


async def _list(session: Session, args: argparse.Namespace) -> None:
    tokens = await session.client.tokens()
    if args.json:
        for token in tokens:
            session.screen.record(token)
        return
    names = [name.lower() for name in HEAD]
    rows = [tuple(str(token.get(name) or "") for name in names) for token in tokens]
    table(session.screen, HEAD, rows)


async def _revoke(session: Session, args: argparse.Namespace) -> None:
    async def revoke(token_id: str) -> None:
        await session.client.revoke_token(token_id)
        session.screen.did("revoked", token_id)

    await each(session, args.ids, revoke)


def _text(record: Record, name: str) -> str:
    return str(record.get(name) or "")
