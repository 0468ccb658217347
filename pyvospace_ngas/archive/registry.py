"""The commands by name, and the services. A new one is a module and a line here."""

from collections.abc import Mapping, Sequence
from typing import Final

from pyvospace_ngas.archive import draining
from pyvospace_ngas.archive.answers import Handler
from pyvospace_ngas.archive.caching import keep_cache
from pyvospace_ngas.archive.checking import check_data
from pyvospace_ngas.archive.commands import (
    archive,
    cachedel,
    cappend,
    carchive,
    ccreate,
    cdestroy,
    checkfile,
    clist,
    clone,
    config,
    cremove,
    cretrieve,
    discard,
    exit,
    help,
    init,
    label,
    larchive,
    offline,
    online,
    qarchive,
    query,
    rearchive,
    register,
    remdisk,
    remfile,
    retrieve,
    status,
    subscribe,
    unsubscribe,
    visitors,
)
from pyvospace_ngas.archive.delivering import deliver
from pyvospace_ngas.archive.janitor import tidy_up
from pyvospace_ngas.archive.logkeeping import keep_logs
from pyvospace_ngas.archive.node import Service
from pyvospace_ngas.archive.oldrequests import forget_old_requests
from pyvospace_ngas.archive.siteservice import serve_site
from pyvospace_ngas.archive.subscribing import subscribe_elsewhere
from pyvospace_ngas.archive.suspending import suspend_when_idle
from pyvospace_ngas.archive.waking import wake_hosts

COMMANDS: Final[Mapping[str, Handler]] = {
    "ARCHIVE": archive.handle,
    "CAPPEND": cappend.handle,
    "CARCHIVE": carchive.handle,
    "CCREATE": ccreate.handle,
    "CDESTROY": cdestroy.handle,
    "CLIST": clist.handle,
    "CACHEDEL": cachedel.handle,
    "CHECKFILE": checkfile.handle,
    "CLONE": clone.handle,
    "CONFIG": config.handle,
    "CREMOVE": cremove.handle,
    "CRETRIEVE": cretrieve.handle,
    "DISCARD": discard.handle,
    "EXIT": exit.handle,
    "HELP": help.handle,
    "INIT": init.handle,
    "LABEL": label.handle,
    "LARCHIVE": larchive.handle,
    "OFFLINE": offline.handle,
    "ONLINE": online.handle,
    "QARCHIVE": qarchive.handle,
    "QUERY": query.handle,
    "REARCHIVE": rearchive.handle,
    "REGISTER": register.handle,
    "REMDISK": remdisk.handle,
    "REMFILE": remfile.handle,
    "RETRIEVE": retrieve.handle,
    "STATUS": status.handle,
    "SUBSCRIBE": subscribe.handle,
    "UNSUBSCRIBE": unsubscribe.handle,
    "favicon.ico": visitors.favicon,
    "robots.txt": visitors.robots,
}

# What changes nothing, and so may be asked by HEAD.
READING: Final = frozenset(
    ("CLIST", "CRETRIEVE", "HELP", "QUERY", "RETRIEVE", "STATUS", "favicon.ico", "robots.txt")
)

# What runs while a node is online; each looks into the configuration whether it is wanted.
SERVICES: Final[Sequence[Service]] = (
    draining.run,
    forget_old_requests,
    keep_cache,
    deliver,
    subscribe_elsewhere,
    tidy_up,
    serve_site,
    keep_logs,
    check_data,
    suspend_when_idle,
    wake_hosts,
)
