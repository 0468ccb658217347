"""Wake-up: the magic packet for a machine's network card.

``<HostSuspension WakeUpPlugIn="pyvospace_ngas.archive.examples.wake_on_lan"
WakeUpPlugInPars="archive1:7777=02:00:00:00:00:01,address=192.0.2.255,port=9"/>``: a card for
each host id, and where the packet is sent to (usually the network's broadcast address).
"""

import socket

from pyvospace_ngas.archive import plugins


def wake_on_lan(host_id: str, parameters: str) -> None:
    """Send the packet for the host's card."""
    given = plugins.pairs(parameters)
    if host_id not in given:
        raise ValueError(f"WakeUpPlugInPars has no network card for {host_id}")
    card = bytes.fromhex(given[host_id].replace(":", "").replace("-", ""))
    if len(card) != 6:
        raise ValueError(f"the network card of {host_id} must have six bytes")
    place = (given.get("address", "255.255.255.255"), int(given.get("port", "9")))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sender.sendto(b"\xff" * 6 + card * 16, place)
