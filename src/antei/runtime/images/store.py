"""Images: pulled from registries by skopeo, loaded from archives, unpacked once by umoci, found by name.

    name ─► skopeo inspect: digest ─► there already? ─► skopeo copy ─► measured ─► umoci ─► renamed ─► named
                                         └► yes: named

The digest that is asked for first is the one that is copied then: a tag that moves meanwhile does no harm. At most
`parallel` pulls run at a time; whoever wants what is being pulled waits for that pull. All failures are ImageError.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from antei.runtime import Credential, ImageError
from antei.runtime.images.archives import ArchiveImage, archive_images
from antei.runtime.images.collection import make_room
from antei.runtime.images.config import Layer, Manifest, parse_config, parse_manifest
from antei.runtime.images.credentials import auth_file, matching
from antei.runtime.images.layers import Limits, measure
from antei.runtime.images.layout import Known, Layout, StoredImage, mounted_images
from antei.runtime.images.reference import Reference, parse_reference
from antei.runtime.images.registries import Registry, is_on_loopback, registries_conf
from antei.runtime.images.tools import run_tool
from antei.runtime.images.zstd import is_zstd, plain_layout
from antei.runtime.trees import remove_tree
from antei.world import World

__all__ = ["FoundImage", "ImageStore", "default_images_directory"]

_log = logging.getLogger(__name__)
_PARALLEL = 3
#: What unpacking leaves free on the disk.
_SPARE_BYTES = 64 * 1024**2
_STAGED_NAME = "image"


def default_images_directory() -> Path:
    """$ANTEI_IMAGES, or ~/.antei-images: shared by all clusters, so that a new one need not pull anew."""
    return Path(os.environ.get("ANTEI_IMAGES") or Path.home() / ".antei-images")


@dataclass(frozen=True, slots=True)
class FoundImage:
    """`repo_digest` is what a pod's status calls the image: repository@digest, or the id of one that was loaded."""

    image: StoredImage
    repo_digest: str
    rootfs: Path


class ImageStore:
    """Several processes may use one directory at the same time."""

    def __init__(
        self,
        world: World,
        directory: Path,
        *,
        registries: Mapping[str, Registry] | None = None,
        limits: Limits = Limits(),  # noqa: B008 (frozen)
        parallel: int = _PARALLEL,
    ) -> None:
        self._world = world
        self._layout = Layout(directory)
        self._registries = dict(registries or {})
        self._limits = limits
        self._turns = asyncio.Semaphore(parallel)
        self._pulls: dict[tuple[str, tuple[Credential, ...]], asyncio.Task[FoundImage]] = {}
        self._unpacking: dict[str, asyncio.Lock] = {}
        self._opening: asyncio.Task[list[str]] | None = None

    @property
    def layout(self) -> Layout:
        return self._layout

    async def open(self) -> list[str]:
        """How skopeo is called. Raises OSError where the directory cannot be made."""
        if self._opening is None:
            self._opening = asyncio.create_task(asyncio.to_thread(self._open), name="open images")
        return await asyncio.shield(self._opening)

    def _open(self) -> list[str]:
        self._layout.open()
        return ["skopeo", *_policy()]

    # --- finding ---

    async def find(self, image: str) -> FoundImage | None:
        """By name, by repository@digest, or by id ("sha256:HEX"). Raises ImageError (InvalidImageName)."""
        await self.open()
        if image.startswith("sha256:"):
            stored = await asyncio.to_thread(self._layout.get, image)
            return self._found(stored, Known(image), None) if stored is not None else None
        reference = parse_reference(image)
        return await asyncio.to_thread(self._look_up, reference)

    def _look_up(self, reference: Reference) -> FoundImage | None:
        known = self._layout.names().get(str(reference))
        stored = self._layout.get(known.image) if known is not None else None
        return self._found(stored, known, reference) if stored is not None and known is not None else None

    def _found(self, stored: StoredImage, known: Known, reference: Reference | None) -> FoundImage:
        has_digest = reference is not None and known.digest
        name = str(reference.at(known.digest)) if reference is not None and has_digest else stored.id
        return FoundImage(stored, name, self._layout.rootfs(stored.id))

    # --- pulling ---

    async def pull(self, image: str, credentials: Sequence[Credential] = ()) -> FoundImage:
        """Asks the registry what the name stands for now, and gets that where it is not there yet."""
        await self.open()
        reference = parse_reference(image)
        users = tuple(matching(reference, credentials))
        key = (str(reference), users)
        pull = self._pulls.get(key)
        if pull is None:
            pull = self._pulls[key] = asyncio.create_task(self._pull(reference, users), name=f"pull {image}")
            pull.add_done_callback(lambda _: self._pulls.pop(key, None))
            pull.add_done_callback(_retrieve)
        return await asyncio.shield(pull)

    async def _pull(self, reference: Reference, users: Sequence[Credential]) -> FoundImage:
        """As each of the users in turn, then as nobody; what the first one was told is the error."""
        async with self._turns, self._staging() as staging:
            failures: list[ImageError] = []
            for number, user in enumerate((*users, None)):
                arguments = await asyncio.to_thread(self._access, reference, user, staging, number)
                try:
                    return await self._pull_as(reference, arguments, staging)
                except ImageError as failure:
                    failures.append(failure)
                    if not users or not _is_refused(failure.message):
                        break
            raise failures[0]

    async def _pull_as(self, reference: Reference, access: Sequence[str], staging: Path) -> FoundImage:
        source = f"docker://{reference}"
        skopeo = [*await self.open(), *await asyncio.to_thread(self._configured, staging)]
        raw = await run_tool([*skopeo, "inspect", "--raw", *access, source], directory=staging)
        digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
        if reference.digest and digest != reference.digest:
            raise ImageError("ErrImagePull", f"{reference}: the registry answered with a manifest of digest {digest}")
        exact = reference.at(digest)
        present = await asyncio.to_thread(self._look_up, exact)
        if present is None:
            source_access = [word.replace("--", "--src-", 1) if word.startswith("--") else word for word in access]
            target = f"oci:{staging}:{_STAGED_NAME}"
            command = [*skopeo, "copy", "--quiet", *source_access, f"docker://{exact}", target]
            await run_tool(command, directory=staging, growing=staging)
            stored = await self._unpack(staging)
        else:
            stored = present.image
        known = Known(stored.id, digest)
        await asyncio.to_thread(self._name, {str(reference): known, str(exact): known})
        return self._found(stored, known, reference)

    def _access(self, reference: Reference, user: Credential | None, staging: Path, number: int) -> list[str]:
        """Arguments of skopeo inspect; those of copy are the same with --src- before them."""
        arguments = []
        registry = self._registries.get(reference.domain, Registry())
        if registry.insecure or is_on_loopback(reference.domain):
            arguments.append("--tls-verify=false")
        if user is None:
            # The machine's own log-ins (`skopeo login`) are the user's, not the pods'.
            return [*arguments, "--no-creds"]
        path = staging / f"auth-{number}.json"
        path.touch(mode=0o600)
        path.write_bytes(auth_file(reference, user))
        return [*arguments, "--authfile", str(path)]

    def _configured(self, staging: Path) -> list[str]:
        """Options of skopeo itself."""
        if not self._registries:
            return []
        path = staging / "registries.conf"
        path.write_text(registries_conf(self._registries))
        return ["--registries-conf", str(path)]

    # --- loading ---

    async def load(self, archive: Path, name: str | None = None) -> list[tuple[str, StoredImage]]:
        """Images of `docker save`, an OCI archive or an OCI layout, each with its name (or its id, without one).

        name: of the one image that is in it, whatever the archive calls it.
        """
        if name is not None and parse_reference(name).digest:
            raise ImageError("InvalidImageName", f"{name}: what is loaded can be given a tag, not a digest")
        await self.open()
        path = await asyncio.to_thread(archive.absolute)
        found = await asyncio.to_thread(archive_images, path)
        if name is not None and len(found) > 1:
            raise ImageError("LoadError", f"{path} has {len(found)} images: one name cannot be given to all of them")
        loaded = []
        for image in found:
            async with self._turns, self._staging() as staging:
                stored = await self._load_one(path, image, staging)
            names = [name] if name is not None else list(image.names)
            for each in names:
                await asyncio.to_thread(self._name, {str(parse_reference(each)): Known(stored.id)})
            loaded += [(each, stored) for each in names or [stored.id]]
        return loaded

    async def _load_one(self, path: Path, image: ArchiveImage, staging: Path) -> StoredImage:
        link = staging / "archive"  # the way to it may have a colon in it
        await asyncio.to_thread(link.symlink_to, path)
        source = f"{image.transport}:archive{image.selector}"
        command = [*await self.open(), "copy", "--quiet", source, f"oci:{staging}:{_STAGED_NAME}"]
        await run_tool(command, directory=staging)
        return await self._unpack(staging)

    # --- unpacking ---

    async def _unpack(self, staging: Path) -> StoredImage:
        """What skopeo left in staging, unpacked and moved to its place."""
        manifest_digest, manifest = await asyncio.to_thread(self._staged_manifest, staging)
        async with self._unpacking.setdefault(manifest.config.digest, asyncio.Lock()):
            stored = await asyncio.to_thread(self._layout.get, manifest.config.digest)
            if stored is not None:
                return stored
            config = parse_config(await asyncio.to_thread(self._blob, manifest.config.digest))
            free = (await asyncio.to_thread(shutil.disk_usage, staging)).free - _SPARE_BYTES
            rootfs = staging / "rootfs"
            await asyncio.to_thread(remove_tree, rootfs)
            try:
                unpacked = await asyncio.to_thread(measure, manifest.layers, self._layout.blobs, self._limits, free)
                await self._unpack_layers(staging, manifest_digest, manifest.layers, free)
            except (ImageError, OSError):
                # One of them may be damaged, and skopeo would take it for good for ever.
                await asyncio.to_thread(self._layout.forget_blobs, [layer.digest for layer in manifest.layers])
                raise
            stored = StoredImage(
                id=manifest.config.digest,
                config=config,
                blobs=(manifest_digest, manifest.config.digest, *(layer.digest for layer in manifest.layers)),
                size_bytes=sum(layer.size for layer in manifest.layers),
                unpacked_bytes=unpacked.size_bytes,
                stored_at=self._world.clock.now(),
            )
            await asyncio.to_thread(self._layout.commit, rootfs, stored)
            return stored

    async def _unpack_layers(self, staging: Path, manifest: str, layers: Sequence[Layer], free_bytes: int) -> None:
        layout = staging
        if any(map(is_zstd, layers)):
            limit = min(free_bytes, self._limits.size_bytes)
            data = await asyncio.to_thread(self._blob, manifest)
            layout = await asyncio.to_thread(
                plain_layout, staging / "plain", self._layout.blobs, data, layers, limit, _STAGED_NAME
            )
        rootless = ["--rootless"] if os.geteuid() != 0 else []
        source = f"{layout}:{_STAGED_NAME}"
        rootfs = str(staging / "rootfs")
        await run_tool(["umoci", "raw", "unpack", *rootless, "--image", source, rootfs], directory=staging)

    def _staged_manifest(self, staging: Path) -> tuple[str, Manifest]:
        index = msgspec.json.decode((staging / "index.json").read_bytes())
        digest = str(index["manifests"][-1]["digest"])
        return digest, parse_manifest(self._blob(digest))

    def _blob(self, digest: str) -> bytes:
        """A small one, its digest compared: who else has written to the store is not known."""
        data = (self._layout.blobs / digest.partition(":")[2]).read_bytes()
        if f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
            raise ImageError("ErrImagePull", f"the blob {digest} is damaged: antei image prune removes it")
        return data

    @asynccontextmanager
    async def _staging(self) -> AsyncIterator[Path]:
        try:
            path, descriptor = await asyncio.to_thread(self._layout.stage, self._world.chance.token(16))
        except OSError as error:
            raise ImageError("ErrImagePull", f"the image store cannot be written: {error}") from error
        try:
            yield path
        except OSError as error:
            raise ImageError("ErrImagePull", f"the image store cannot be written: {error}") from error
        finally:
            await asyncio.shield(asyncio.to_thread(self._layout.unstage, path, descriptor))

    # --- names, removal ---

    def _name(self, added: Mapping[str, Known]) -> None:
        with self._layout.locked(exclusive=True):
            self._layout.write_names({**self._layout.names(), **added})

    async def images(self) -> list[tuple[str, Known, StoredImage]]:
        """Each name with its image, sorted; an image that has only digests left, or no name at all, once so."""
        await self.open()
        return await asyncio.to_thread(self._images)

    def _images(self) -> list[tuple[str, Known, StoredImage]]:
        names, stored = self._layout.names(), {image.id: image for image in self._layout.all()}
        tagged = {known.image for name, known in names.items() if "@" not in name}
        listed = [(name, known) for name, known in names.items() if "@" not in name or known.image not in tagged]
        named = {known.image for _, known in listed}
        listed += [(image, Known(image)) for image in stored if image not in named]
        return sorted((name, known, stored[known.image]) for name, known in listed if known.image in stored)

    async def remove(self, name: str) -> StoredImage:
        """Takes the name away, and the image with its last one. Raises ImageError when it is not there or in use."""
        await self.open()
        found = await self.find(name)
        if found is None:
            raise ImageError("NotFound", f"there is no image {name}")
        await asyncio.to_thread(self._remove, name, found.image)
        return found.image

    def _remove(self, name: str, image: StoredImage) -> None:
        with self._layout.locked(exclusive=True):
            names = self._layout.names()
            key = name if name.startswith("sha256:") else str(parse_reference(name))
            others = [other for other, known in names.items() if known.image == image.id and other != key]
            if not name.startswith("sha256:") and any("@" not in other for other in others):
                del names[key]
                self._layout.write_names(names)
            elif image.id in mounted_images(self._layout):
                raise ImageError("InUse", f"a container runs on {name}")
            else:
                self._layout.remove([image.id])

    async def prune(self, *, all_unused: bool = False, unused_seconds: float = 0.0) -> list[StoredImage]:
        """Removes images without a tag that no container runs on; with `all_unused` those with a tag, too.

        unused_seconds: only those that have not been used for so long. Blobs that no image has go with them.
        """
        await self.open()
        before = self._world.clock.now().timestamp() - unused_seconds
        return await asyncio.to_thread(self._prune, all_unused, before)

    def _prune(self, all_unused: bool, unused_since: float) -> list[StoredImage]:
        with self._layout.locked(exclusive=True):
            tagged = {known.image for name, known in self._layout.names().items() if "@" not in name}
            kept = mounted_images(self._layout) | (set() if all_unused else tagged)
            unused = [image for image in self._layout.all() if image.id not in kept]
            removed = [image for image in unused if self._layout.used_at(image.id) <= unused_since]
            self._layout.remove([image.id for image in removed])
        return removed

    async def make_room(self) -> list[StoredImage]:
        """Removes what nobody uses, the longest unused first, where the disk is nearly full; what it removed.

        Raises NoRoomError where that is not enough, and OSError.
        """
        await self.open()
        return await asyncio.to_thread(make_room, self._layout, self._world.clock.now())


def _policy() -> list[str]:
    """Signatures are the machine's to ask for; without a policy skopeo would refuse all images."""
    has_one = any(path.exists() for path in (Path("/etc/containers/policy.json"), _own_policy()))
    return [] if has_one else ["--insecure-policy"]


def _own_policy() -> Path:
    return Path.home() / ".config/containers/policy.json"


def _is_refused(message: str) -> bool:
    words = ("unauthorized", "authentication required", "denied", "forbidden", "invalid username/password")
    return any(word in message.lower() for word in words)


def _retrieve(task: asyncio.Task[FoundImage]) -> None:
    """Whoever asked for it has the exception; when nobody waits any more it is said here."""
    if not task.cancelled() and task.exception() is not None:
        _log.debug("%s ended with %r", task.get_name(), task.exception())
