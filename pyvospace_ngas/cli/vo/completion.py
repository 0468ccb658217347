"""``completion``: what a shell completes, from the parser itself; paths are asked for."""

import argparse
import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from pyvospace_ngas.cli.vo import options
from pyvospace_ngas.cli.vo.paths import SCHEME
from pyvospace_ngas.cli.vo.screen import Screen
from pyvospace_ngas.cli.vo.session import opened
from pyvospace_ngas.errors import VOSpaceError
from pyvospace_ngas.model.node import Detail, NodeType

if TYPE_CHECKING:
    from pyvospace_ngas.cli.vo.options import Parts

PATIENCE: Final = 2.0  # seconds until the shell gets nothing
MOST: Final = 200  # names that anybody looks through
HIDDEN: Final = "__complete"

_BASH: Final = """\
_ngas_vo() {
  local cur="${COMP_WORDS[COMP_CWORD]}" words="" key="" w
  local line="${COMP_LINE:0:COMP_POINT}"
  COMPREPLY=()
  for w in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    [[ "$w" == -* ]] && continue
    if [[ -z "$key" || "$key" == @groups@ ]]; then key="${key:+$key }$w"; fi
  done
  case "$key" in
@cases@
    *) words="" ;;
  esac
  if [[ -z "$key" || "$cur" == -* || "$key" == @groups@ ]]; then
    while IFS= read -r w; do COMPREPLY+=("$w"); done < <(compgen -W "$words" -- "$cur")
    return
  fi
  case "$key" in
    put|put\\ *|get|get\\ *|sync|sync\\ *)
      while IFS= read -r w; do COMPREPLY+=("$w"); done < <(compgen -f -- "$cur") ;;
  esac
  # A colon parts words for bash: of vos:/a only /a is the word here.
  local head=""
  case "${line##* }" in vos:*) [[ "$cur" == vos:* ]] || head="vos:" ;; esac
  [[ "$cur" == : ]] && cur=""
  while IFS= read -r w; do
    COMPREPLY+=("${w#"$head"}")
  done < <(ngas_vo -q @hidden@ -- "$head$cur" 2>/dev/null)
  type compopt >/dev/null 2>&1 && compopt -o nospace -o filenames 2>/dev/null
}
complete -F _ngas_vo ngas_vo
"""
_ZSH: Final = (
    "autoload -U +X compinit && compinit -u\nautoload -U +X bashcompinit && bashcompinit\n"
)


def add_commands(parts: "Parts") -> None:
    """Add ``completion``, and what it calls."""
    help_ = 'print what makes a shell complete: eval "$(ngas_vo completion bash)"'
    parser = options.local(parts, "completion", _print, help_)
    parser.add_argument("shell", choices=("bash", "zsh"))
    hidden = parts.add_parser(HIDDEN, parents=[options.everywhere(argparse.SUPPRESS)])
    hidden.add_argument("word")
    hidden.set_defaults(local=_complete)


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the script for ``shell``: every command and option that ``parser`` knows."""
    words = dict(_words(parser, ""))
    cases = [f'    "{key}") words="{" ".join(found)}" ;;' for key, found in words.items()]
    groups = [key for key, found in words.items() if key and not found[0].startswith("-")]
    bash = (
        _BASH.replace("@cases@", "\n".join(cases))
        .replace("@groups@", f"@({'|'.join(groups)})")
        .replace("@hidden@", HIDDEN)
    )
    return bash if shell == "bash" else _ZSH + bash


def _words(parser: argparse.ArgumentParser, key: str) -> list[tuple[str, list[str]]]:
    """Return the words that may follow each command."""
    found: list[str] = []
    below: list[tuple[str, list[str]]] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                if name != HIDDEN:
                    found.append(name)
                    below += _words(sub, f"{key} {name}".strip())
    found += [option for action in parser._actions for option in action.option_strings]
    return [(key, found), *below]


async def _print(_: Screen, args: argparse.Namespace) -> None:
    from pyvospace_ngas.cli.vo.main import parser  # noqa: PLC0415 - it knows all of us

    print(script(parser(), args.shell), end="")


async def _complete(screen: Screen, args: argparse.Namespace) -> None:
    """Print the paths that begin as ``word`` does; nothing where that fails or takes long."""
    try:
        async with asyncio.timeout(PATIENCE):
            await _print_paths(screen, args)
    except (VOSpaceError, OSError, TimeoutError):
        return


async def _print_paths(screen: Screen, args: argparse.Namespace) -> None:
    folder, slash, start = args.word.rpartition("/")
    async with opened(args, screen) as session:
        scheme = SCHEME if not slash and start.startswith(SCHEME) else ""
        start = start.removeprefix(scheme)
        top = session.path((folder + slash) or ".")
        count = 0
        async with aclosing(session.client.list(top, Detail.MIN)) as children:
            async for child in children:
                if not child.path.name.startswith(start):
                    continue
                end = "/" if child.type is NodeType.CONTAINER else ""
                print(f"{scheme}{folder}{slash}{child.path.name}{end}")
                count += 1
                if count == MOST:
                    return
