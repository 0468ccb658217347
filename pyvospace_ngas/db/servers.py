"""Every query on storage servers: which are alive, and where clients reach them."""

from typing import Final

from pyvospace_ngas.db.connect import Connection

# Those that were heard of lately.
LIVE: Final = """
    select public_url from storage_server
     where heartbeat > now() - interval '35 seconds' order by public_url
"""


async def beat(db: Connection, public_url: str, name: str) -> None:
    """Say that the storage server at ``public_url`` lives."""
    await db.execute(
        """
        insert into storage_server (public_url, name) values ($1, $2)
        on conflict (public_url) do update set name = excluded.name, heartbeat = now()
        """,
        public_url,
        name,
    )


async def leave(db: Connection, public_url: str) -> None:
    """Say that the storage server at ``public_url`` stops."""
    await db.execute("delete from storage_server where public_url = $1", public_url)


async def live(db: Connection) -> list[str]:
    """Return the public URLs of the servers that were heard of lately."""
    return [row["public_url"] for row in await db.fetch(LIVE)]
