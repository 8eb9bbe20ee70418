"""A small chat server that stands in for Mattermost: same address, same ping, posts kept in the database.

It reads what the book's manifests give it (`MM_SQLSETTINGS_DATASOURCE`, /mm/config/config.json), waits for its
database before it listens, as Mattermost does, and answers (each answer says in X-Served-By who gave it)

    GET  /api/v4/system/ping                          {"status": "OK"}
    GET  /api/v4/system/ping?get_server_status=true   looks at the database as well: 500 when it is not there
    GET  /api/v4/posts                                the latest posts
    GET  /api/v4/posts?wait=SECONDS                   the same once there is a new one here, or after so long
    POST /api/v4/posts {"message": "…"}               a new post
    GET  /                                            a page to read and write them

While the primary does not answer, posts are read from its replica (`MM_SQLSETTINGS_DATASOURCEREPLICAS`).

SIGTERM stops it gracefully: no new connections, what is in flight is answered, then it ends.

Two variables make it a worse server, for what docs/mechanisms.md measures: with CHAT_EXIT_AT_ONCE it ends on SIGTERM
whatever is in flight; CHAT_WARM_UP_SECONDS is how long after its start it is alive but serves nobody yet.
"""

from __future__ import annotations

import asyncio
import html
import json
import logging
import os
import queue
import re
import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pymysql
from aiohttp import web

LOG = logging.getLogger("chat")
CONFIG = Path("/mm/config/config.json")
PING = "/api/v4/system/ping"
#: user:password@tcp(host:port)/database?options
DATA_SOURCE = re.compile(
    r"(?P<user>[^:]*):(?P<password>.*)"
    r"@tcp\((?P<host>[^:)]*)(?::(?P<port>\d+))?\)/(?P<database>[^?]*)"
)
DATABASE_TIMEOUT_SECONDS = 1
#: Who reads waits no longer for the primary: finding out that a name is gone can take longer than any connection.
DATABASE_PATIENCE_SECONDS = 1
#: A primary that did not answer is asked again so often, and by nobody who waits for a page.
DATABASE_CHECK_SECONDS = 1
#: Statements under way at once on one database, hanging ones included.
DATABASE_THREADS = 32
SHUTDOWN_TIMEOUT_SECONDS = 20
#: Shorter than the above: who waits is answered before the server ends.
LONGEST_WAIT_SECONDS = 15.0


#: pymysql's and the server's words for a connection that is no more.
BROKEN = (0, 2006, 2013)


class Database:
    """A few connections that are opened when needed and thrown away when they break."""

    def __init__(self, data_source: str) -> None:
        match = DATA_SOURCE.match(data_source)
        if match is None:
            sys.exit(f"MM_SQLSETTINGS_DATASOURCE is not user:password@tcp(host:port)/database: {data_source!r}")
        self._options: dict[str, Any] = {
            "host": match["host"],
            "port": int(match["port"] or 3306),
            "user": match["user"],
            "password": match["password"],
            "database": match["database"],
            "connect_timeout": DATABASE_TIMEOUT_SECONDS,
            "read_timeout": DATABASE_TIMEOUT_SECONDS,
            "write_timeout": DATABASE_TIMEOUT_SECONDS,
            "autocommit": True,
            "charset": "utf8mb4",
            # Else each connection reads all certificates of the machine, 20 ms of processor time: while a database
            # hangs and connections are given up one after the other, the server would have time for nothing else.
            "ssl_disabled": True,
        }
        self._idle: queue.LifoQueue[Any] = queue.LifoQueue()
        # Of its own: who hangs on a database that is gone must not keep another one's readers waiting.
        self._threads = ThreadPoolExecutor(DATABASE_THREADS, thread_name_prefix=match["host"])

    async def run(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, statement, values)

    def _run(self, statement: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        """A kept connection that turns out to be broken says nothing about the database: a new one is tried."""
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            return self._run_on(pymysql.connect(**self._options), statement, values)
        try:
            return self._run_on(connection, statement, values)
        except pymysql.err.OperationalError as error:
            if error.args[0] not in BROKEN or "timed out" in str(error):
                raise
        return self._run_on(pymysql.connect(**self._options), statement, values)

    def _run_on(self, connection: Any, statement: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement, values)
                rows = list(cursor.fetchall())
        except BaseException:
            connection.close()
            raise
        self._idle.put(connection)
        return rows

    async def wait(self) -> None:
        """Returns when the database answers and has our table."""
        while True:
            try:
                await self.run(
                    "CREATE TABLE IF NOT EXISTS posts (id BIGINT PRIMARY KEY AUTO_INCREMENT,"
                    " message TEXT NOT NULL, host VARCHAR(255) NOT NULL, created TIMESTAMP DEFAULT CURRENT_TIMESTAMP)"
                )
            except pymysql.err.Error as error:
                LOG.info("waiting for the database: %s", error)
                await asyncio.sleep(1)
            else:
                return


class Databases:
    """The primary, and a replica that what is only read may come from while the primary does not answer."""

    def __init__(self, primary: Database, replica: Database | None) -> None:
        self.primary = primary
        self._replica = replica
        self._check: asyncio.Task[None] | None = None  # runs while the primary does not answer

    async def read(self, statement: str) -> list[tuple[Any, ...]]:
        if self._replica is None:
            return await self.primary.run(statement)
        if self._check is not None:
            return await self._replica.run(statement)
        try:
            async with asyncio.timeout(DATABASE_PATIENCE_SECONDS):
                return await self.primary.run(statement)
        except (pymysql.err.Error, TimeoutError) as error:
            if self._check is None:
                LOG.warning("the primary does not answer, reading from the replica: %r", error)
                self._check = asyncio.create_task(self._until_it_answers())
            return await self._replica.run(statement)

    async def _until_it_answers(self) -> None:
        while True:
            await asyncio.sleep(DATABASE_CHECK_SECONDS)
            try:
                await self.primary.run("SELECT 1")
            except pymysql.err.Error as error:
                LOG.info("the primary does not answer: %s", error)
            else:
                LOG.info("the primary answers again")
                self._check = None
                return


class News:
    """Wakes those who wait for the next post that is written here."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def tell(self) -> None:
        self._next.set()
        self._next = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._next.wait()


class Chat:
    """What is asked of the server. `warm_at` is a moment on the event loop's clock."""

    def __init__(self, databases: Databases, warm_at: float) -> None:
        self._databases = databases
        self._news = News()
        self._warm_at = warm_at

    async def ping(self, request: web.Request) -> web.Response:
        if request.query.get("get_server_status") != "true":
            return web.json_response({"status": "OK"})
        try:
            await self._databases.read("SELECT 1")
        except pymysql.err.Error as error:
            LOG.warning("ping: the database does not answer: %s", error)
            return web.json_response({"status": "UNHEALTHY", "database_status": "UNHEALTHY"}, status=500)
        return web.json_response({"status": "OK", "database_status": "OK"})

    async def _latest(self) -> list[dict[str, Any]]:
        rows = await self._databases.read("SELECT id, message, host FROM posts ORDER BY id DESC LIMIT 50")
        return [{"id": number, "message": message, "host": host} for number, message, host in rows]

    async def read_posts(self, request: web.Request) -> web.Response:
        try:
            seconds = min(float(request.query.get("wait", 0)), LONGEST_WAIT_SECONDS)
        except ValueError:
            return web.json_response({"message": "wait is a number of seconds"}, status=400)
        if seconds > 0:
            await self._news.wait(seconds)
        return web.json_response({"posts": await self._latest(), "served_by": socket.gethostname()})

    async def write_post(self, request: web.Request) -> web.Response:
        if request.content_type == "application/json":
            try:
                message = (await request.json())["message"]
            except (json.JSONDecodeError, KeyError, TypeError):
                return web.json_response({"message": 'the body must be {"message": "…"}'}, status=400)
        else:
            message = (await request.post()).get("message", "")
        if not isinstance(message, str) or not message or len(message) > 4000:
            return web.json_response({"message": "a post has 1 to 4000 characters"}, status=400)
        statement = "INSERT INTO posts (message, host) VALUES (%s, %s)"
        await self._databases.primary.run(statement, message, socket.gethostname())
        self._news.tell()
        if request.content_type != "application/json":
            raise web.HTTPSeeOther("/")
        return web.json_response({"message": message, "served_by": socket.gethostname()}, status=201)

    async def page(self, request: web.Request) -> web.Response:
        posts = "".join(
            f"<li>{html.escape(post['message'])} <small>{html.escape(post['host'])}</small></li>"
            for post in await self._latest()
        )
        return web.Response(
            content_type="text/html",
            text=f"""<!doctype html><meta name="viewport" content="width=device-width"><title>Chat</title>
<style>body{{font:16px system-ui;max-width:40rem;margin:2rem auto;padding:0 1rem}}small{{color:gray}}</style>
<h1>Chat</h1><p>A stand-in for Mattermost, served by {html.escape(socket.gethostname())}.</p>
<form method="post" action="/api/v4/posts"><input name="message" required maxlength="4000"> <button>Post</button></form>
<ul>{posts}</ul>""",
        )

    @web.middleware
    async def warming_up(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Until it is warm it says that it is alive, and nothing else."""
        is_alive_asked = request.path == PING and not request.query
        if not is_alive_asked and asyncio.get_running_loop().time() < self._warm_at:
            return web.json_response({"message": "warming up"}, status=503)
        response: web.StreamResponse = await handler(request)
        return response


@web.middleware
async def database_errors(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        response: web.StreamResponse = await handler(request)
    except pymysql.err.Error as error:
        LOG.warning("%s %s: %s", request.method, request.path, error)
        return web.json_response({"message": "the database does not answer"}, status=503)
    return response


async def sign(request: web.Request, response: web.StreamResponse) -> None:
    response.headers["X-Served-By"] = socket.gethostname()


def listen_address() -> tuple[str, int]:
    address = ":8065"
    if CONFIG.exists():
        address = json.loads(CONFIG.read_text())["ServiceSettings"]["ListenAddress"] or address
    host, _, port = address.rpartition(":")
    return host or "0.0.0.0", int(port)


async def make_app() -> web.Application:
    primary = Database(os.environ.get("MM_SQLSETTINGS_DATASOURCE", ""))
    replicas = os.environ.get("MM_SQLSETTINGS_DATASOURCEREPLICAS", "")
    await primary.wait()
    warm_at = asyncio.get_running_loop().time() + float(os.environ.get("CHAT_WARM_UP_SECONDS") or 0)
    chat = Chat(Databases(primary, Database(replicas) if replicas else None), warm_at)
    app = web.Application(middlewares=[chat.warming_up, database_errors])
    app.on_response_prepare.append(sign)
    app.router.add_get(PING, chat.ping)
    app.router.add_get("/api/v4/posts", chat.read_posts)
    app.router.add_post("/api/v4/posts", chat.write_post)
    app.router.add_get("/", chat.page)
    return app


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    host, port = listen_address()
    LOG.info("starting on %s:%d", host, port)
    is_graceful = not os.environ.get("CHAT_EXIT_AT_ONCE")
    if not is_graceful:
        # As the first process of its container it would not end by itself: there signals without a handler do nothing.
        signal.signal(signal.SIGTERM, lambda number, frame: os._exit(128 + number))
    web.run_app(
        make_app(),
        host=host,
        port=port,
        shutdown_timeout=SHUTDOWN_TIMEOUT_SECONDS,
        handle_signals=is_graceful,
        print=LOG.info,
    )
    LOG.info("stopped")


if __name__ == "__main__":
    main()
