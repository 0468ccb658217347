"""The command ``ngas_mount``: a VOSpace as a directory, and how a mount is doing."""

import argparse
import errno
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from pyvospace_ngas import config
from pyvospace_ngas.cli import mount_options
from pyvospace_ngas.cli.mount_options import BadOption
from pyvospace_ngas.cli.process import allow_many_files, spare_what_stays
from pyvospace_ngas.errors import VOSpaceError
from pyvospace_ngas.fuse import binding, session
from pyvospace_ngas.fuse.errnos import number
from pyvospace_ngas.fuse.operations import STATUS
from pyvospace_ngas.fuse.staging import InUse, lost, waiting

log = logging.getLogger(__name__)

_FINE: Final = b"mounted"
_REFUSED: Final = (
    VOSpaceError, BadOption, binding.NoBinding, config.ConfigError, InUse, OSError,
)  # fmt: skip
_TURN: Final = 0.001  # seconds that the kernel waits for long work, such as reading a listing


def main(argv: Sequence[str] | None = None) -> int:
    """Mount, or tell how a mount is; return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["status"]:
        return _status(words[1:])
    return _mount(_parser("ngas_mount").parse_args(words))


def mount_fuse(argv: Sequence[str] | None = None) -> int:
    """Do what mount(8) asks of ``mount.fuse.ngas SOURCE MOUNTPOINT -o OPTIONS``."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = _parser("mount.fuse.ngas")
    parser.add_argument("-s", "-n", "-v", "-w", "-r", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("-t", help=argparse.SUPPRESS)
    args = parser.parse_args(["--url", words[0], *words[1:]] if words else [])
    return _mount(args)


def _parser(name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=name,
        description="Show a VOSpace as a directory (`ngas_mount status MOUNTPOINT`: how it is).",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--url", help="of the space server, such as http://localhost:8082")
    where.add_argument("--cfg", metavar="FILE", help="the servers' ini file, which names the URL")
    parser.add_argument("--user", help="whom to log in as; nobody without it")
    parser.add_argument(
        "--password-file", metavar="FILE", help="of mode 0600; else NGAS_PASSWORD, ~/.netrc, ask"
    )
    parser.add_argument("--path", help="the container to mount, such as /home/NAME; all of it")
    parser.add_argument("--log", metavar="FILE", help="where a mount in the background writes")
    parser.add_argument("-f", "--foreground", action="store_true", help="do not go away")
    parser.add_argument("-o", action="append", default=[], metavar="A,B=C", dest="options")
    parser.add_argument("mountpoint")
    return parser


def _mount(args: argparse.Namespace) -> int:
    try:
        given = mount_options.read(args)
        os.umask(0o077)
        _free(given.settings.mountpoint)
        if args.foreground:
            _log(None)
            return _serve(given, lambda: print("ngas_mount: mounted", file=sys.stderr))
        return _in_background(given, args.log)
    except _REFUSED as error:
        print(f"ngas_mount: {error}", file=sys.stderr)
        return 1


def _serve(given: mount_options.Given, ready: Callable[[], None]) -> int:
    spare_what_stays()
    sys.setswitchinterval(_TURN)
    allow_many_files()
    try:
        all_sent = session.serve(given.settings, given.options, given.libfuse, ready)
    except RuntimeError as error:  # all that the bindings tell
        raise BadOption(f"libfuse cannot mount here ({error}); its log says why") from error
    return 0 if all_sent else 1


def _in_background(given: mount_options.Given, log_file: str | None) -> int:
    """Fork; return in the parent once the mount answers, in the child when it has ended."""
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        with os.fdopen(reading, "rb") as answer:
            said = answer.read()
        if said != _FINE:
            text = said.decode(errors="replace") or "the mount ended before it answered"
            print(f"ngas_mount: {text}", file=sys.stderr)
        return 0 if said == _FINE else 1
    os.close(reading)
    os.setsid()
    told = os.fdopen(writing, "wb", buffering=0)

    def ready() -> None:
        told.write(_FINE)
        told.close()

    code = 1
    try:
        kept = Path(log_file) if log_file else given.settings.state / "mount.log"
        _log(kept)
        _leave_terminal(kept)
        code = _serve(given, ready)
    except _REFUSED as error:
        log.error("%s", error)  # noqa: TRY400  a sentence for its user
        if not told.closed:
            told.write(str(error).encode())
    os._exit(code)  # nothing of the parent's is to be run again


def _leave_terminal(kept: Path) -> None:
    """Go where nothing is kept in use; what libfuse says goes to the log."""
    os.chdir("/")
    for number_, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, os.devnull, os.O_WRONLY),
        (2, str(kept), os.O_WRONLY | os.O_APPEND),
    ):
        opened = os.open(path, flags)
        os.dup2(opened, number_)
        os.close(opened)


def _log(file: Path | None) -> None:
    if file is not None:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    logging.basicConfig(
        filename=file, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    logging.getLogger("fuse").setLevel(logging.CRITICAL)  # it shows every errno as a traceback


def _free(mountpoint: str) -> None:
    """Let go of what a mount that died has left at ``mountpoint``."""
    try:
        Path(mountpoint).stat()
    except OSError as error:
        if number(error) not in (errno.ENOTCONN, errno.ECONNABORTED):
            raise
    else:
        if _is_mounted(mountpoint):
            raise BadOption(f"{mountpoint} shows a space already: umount it first")
        return
    for command in (["fusermount3", "-u", "-z"], ["fusermount", "-u", "-z"], ["umount", "-l"]):
        if shutil.which(command[0]):
            done = subprocess.run([*command, mountpoint], check=False, capture_output=True)  # noqa: S603  our own words
            if done.returncode == 0:
                return
    raise BadOption(f"{mountpoint} is left over from a mount that died: umount -l {mountpoint}")


def _is_mounted(mountpoint: str) -> bool:
    try:
        os.getxattr(mountpoint, STATUS)
    except OSError:
        return False  # another file system may well be there, such as systemd's automount
    return True


def _status(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="ngas_mount status")
    parser.add_argument("mountpoint")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--state", type=Path, help="as in the mount's option state")
    args = parser.parse_args(words)
    mountpoint = os.path.realpath(args.mountpoint)
    try:
        told = json.loads(os.getxattr(mountpoint, STATUS))
    except OSError as error:
        state = args.state or mount_options.state_of(mountpoint)
        return _status_of_dead(mountpoint, state, error)
    if args.json:
        print(json.dumps(told))
        return 0
    print(f"{told['url']}{told['path']} as {told['user'] or 'nobody'}, process {told['pid']}")
    print(f"server: {told['server']}; {told['cached'] >> 20} MiB of bytes in memory")
    print(f"changes of others: {told['changes']}")
    for each in told["pending"]:
        print(f"pending: {each['path']} ({each['size']} bytes) {each['failure'] or ''}".rstrip())
    for each in told["lost"]:
        print(_lost_line(each["path"], each["size"], each["why"], each["file"]))
    return 0


def _status_of_dead(mountpoint: str, state: Path, error: OSError) -> int:
    print(f"ngas_mount: no mount answers at {mountpoint}: {error.strerror}", file=sys.stderr)
    for kept in lost(state):
        print(_lost_line(kept.path, kept.size, kept.why, kept.file))
    for kept in waiting(state):
        print(f"pending: {kept.path} ({kept.size} bytes), sent by the next mount here")
    return 1


def _lost_line(path: str, size: int, why: str, file: str) -> str:
    return f"not stored: {path} ({size} bytes): {why}; its bytes are in {file}"


if __name__ == "__main__":
    sys.exit(main())
