"""`antei image`: the real images that clusters of this user run; they share one store."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import click
from rich.console import Console
from rich.table import Table

from antei.cli.durations import DURATION
from antei.cli.instance import fail
from antei.cli.lines import new_console, say
from antei.cli.privileges import own_namespaces
from antei.runtime import Credential, ImageError
from antei.runtime.image_map import ImageMapError, load_maps
from antei.runtime.images import ImageStore, default_images_directory
from antei.runtime.images.layout import StoredImage
from antei.runtime.images.reference import parse_reference
from antei.world.system import system_world

__all__ = ["image"]

T = TypeVar("T")
_HEX_DIGITS = 12


@click.group()
@click.option(
    "--images",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=default_images_directory,
    show_default="$ANTEI_IMAGES or ~/.antei-images",
    help="Where images are kept.",
)
@click.option(
    "--map",
    "maps",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="antei.yaml with `registries`: mirrors and registries without TLS.",
)
@click.pass_context
def image(context: click.Context, directory: Path, maps: tuple[Path, ...]) -> None:
    """Pull, load, list and remove the real images that clusters run.

    \b
    antei image pull nginx:1.27             from a registry, as a pod would
    antei image load app.tar                of docker save, an OCI archive or an OCI layout
    antei image ls
    antei image prune --all                 all that no container runs on
    """
    own_namespaces()  # files of an image belong to many users
    context.obj = (directory, maps)


@image.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--user", help="User of the registry; the password is asked for.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.pass_obj
def pull(given: tuple[Path, tuple[Path, ...]], names: tuple[str, ...], user: str | None, password_stdin: bool) -> None:
    """Get images from their registries, and unpack them."""
    if password_stdin and user is None:
        raise click.UsageError("--password-stdin is the password of --user, which is missing")
    password = ""
    if user is not None:
        password = sys.stdin.readline().rstrip("\n") if password_stdin else click.prompt("Password", hide_input=True)
    console = new_console()

    async def all_of_them(store: ImageStore) -> None:
        for name in names:
            users = [Credential(parse_reference(name).domain, user, password)] if user is not None else []
            say(console, f"pulling {name}")
            found = await store.pull(name, users)
            say(console, f"{found.repo_digest} ({_size(found.image.size_bytes)})", style="green")

    _run(given, all_of_them)


@image.command()
@click.argument("archives", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path, exists=True))
@click.option("--name", help="Call the image so, whatever the archive calls it.")
@click.pass_obj
def load(given: tuple[Path, tuple[Path, ...]], archives: tuple[Path, ...], name: str | None) -> None:
    """Take images from files of `docker save`, OCI archives or OCI layouts."""
    console = new_console()

    async def all_of_them(store: ImageStore) -> None:
        for archive in archives:
            for called, stored in await store.load(archive, name):
                say(console, f"{called} ({_size(stored.size_bytes)})", style="green")

    _run(given, all_of_them)


@image.command()
@click.pass_obj
def ls(given: tuple[Path, tuple[Path, ...]]) -> None:
    """List the images that are there."""
    listed = _run(given, lambda store: store.images())
    table = Table(box=None, pad_edge=False)
    for heading in ("NAME", "IMAGE", "SIZE", "UNPACKED", "STORED"):
        table.add_column(heading, no_wrap=heading != "NAME", overflow="fold")
    for name, _, stored in listed:
        table.add_row(name, _short(stored), _size(stored.size_bytes), _size(stored.unpacked_bytes), _when(stored))
    Console(width=None if new_console().is_terminal else 200).print(table)


@image.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.pass_obj
def rm(given: tuple[Path, tuple[Path, ...]], names: tuple[str, ...]) -> None:
    """Remove names, and the images that have no other."""
    console = new_console()

    async def all_of_them(store: ImageStore) -> None:
        for name in names:
            await store.remove(name)
            say(console, f"{name} removed")

    _run(given, all_of_them)


@image.command()
@click.option("--all", "all_unused", is_flag=True, help="Those with a tag, too, if no container runs on them.")
@click.option("--unused-for", type=DURATION, default=0.0, help="Only those that nobody has used for so long: 12h.")
@click.pass_obj
def prune(given: tuple[Path, tuple[Path, ...]], all_unused: bool, unused_for: float) -> None:
    """Remove images without a tag that no container runs on."""
    removed = _run(given, lambda store: store.prune(all_unused=all_unused, unused_seconds=unused_for))
    freed = sum(stored.unpacked_bytes + stored.size_bytes for stored in removed)
    say(new_console(), f"{len(removed)} images removed, about {_size(freed)}")


def _run(given: tuple[Path, tuple[Path, ...]], work: Callable[[ImageStore], Awaitable[T]]) -> T:
    """On a loop of its own; what fails is said in one line, exit code 1."""
    directory, maps = given

    async def whole() -> T:
        image_map = await asyncio.to_thread(load_maps, maps)
        return await work(ImageStore(system_world(), directory, registries=image_map.registries))

    try:
        return asyncio.run(whole())
    except (ImageError, ImageMapError, OSError) as error:
        fail(1, str(error))


def _short(stored: StoredImage) -> str:
    return stored.id.partition(":")[2][:_HEX_DIGITS]


def _size(size_bytes: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size_bytes < 1000:
            return f"{size_bytes:.3g} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.3g} GB"


def _when(stored: StoredImage) -> str:
    return f"{stored.stored_at:%Y-%m-%d %H:%M}"
