"""An aiohttp that answers a constant: what no handler behind it can pass. ``constant.py PORT``."""

import sys

from aiohttp import web


async def answer(request: web.Request) -> web.Response:
    return web.Response(body=b"constant", content_type="text/xml", charset="utf-8")


def main() -> None:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)


if __name__ == "__main__":
    main()
