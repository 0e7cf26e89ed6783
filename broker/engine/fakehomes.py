"""The homes of the engine in memory, and the tar that they leave and come back as."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass, field

from broker.core.errors import EngineUnavailable


@dataclass(slots=True)
class Home:
    """A volume: whose it is, and what a test has put there."""

    desktop_id: str
    uid: int
    files: dict[str, str] = field(default_factory=dict)


def packed(home: Home) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        root = tarfile.TarInfo("desk")
        root.type, root.uid, root.gid = tarfile.DIRTYPE, home.uid, home.uid
        archive.addfile(root)
        for name, text in home.files.items():
            data = text.encode()
            info = tarfile.TarInfo(f"desk/{name}")
            info.size, info.uid, info.gid = len(data), home.uid, home.uid
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def unpacked(desktop_id: str, tar: bytes) -> Home:
    try:
        with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
            root, *members = archive.getmembers()
            # What is elsewhere goes with the container that unpacked it.
            files = [i for i in members if i.isreg() and i.name.startswith("desk/")]
            found = {info.name.removeprefix("desk/"): archive.extractfile(info) for info in files}
            texts = {name: file.read().decode() for name, file in found.items() if file}
    except tarfile.TarError as error:
        raise EngineUnavailable(f"import_home: this is no home: {error}") from error
    return Home(desktop_id, root.uid, texts)
