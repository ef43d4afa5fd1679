"""The address of a model on another server, in the place of a file: the path says which protocol is spoken there."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import msgspec

from kaname.errors import InvalidInput

_NAMED = r"/(?P<model>[^/?#]+)(?:/versions/(?P<version>[^/?#]+))?/?"
_FORMS = (
    ("oip", re.compile(rf"(?P<base>https?://[^?#]+?)/v2/models{_NAMED}")),
    ("tfs", re.compile(rf"(?P<base>https?://[^?#]+?)/v1/models{_NAMED}")),
    ("oip-grpc", re.compile(rf"(?P<base>grpcs?://[^/?#]+){_NAMED}")),
)
EXPECTED = (
    "http://HOST[:PORT]/v2/models/NAME, http://HOST[:PORT]/v1/models/NAME or grpc://HOST:PORT/NAME, with "
    "/versions/VERSION if need be; for others a file with a description"
)


def local(path: str | Path, folder: Path) -> Path:
    """The file to import: the one at `path`, or, for the address of a model, a description of it written into `folder`.

    Raises InvalidInput for other addresses.
    """
    return described(path, folder) if isinstance(path, str) and "://" in path else Path(path)


def described(url: str, folder: Path) -> Path:
    """The description of the model at `url`, written into `folder`. Raises InvalidInput for other addresses."""
    for protocol, form in _FORMS:
        found = form.fullmatch(url)
        if found is None:
            continue
        content = {"protocol": protocol, "urls": [found["base"]], "model": unquote(found["model"])}
        if found["version"]:
            content["version"] = unquote(found["version"])
        file = folder / "remote.yaml"
        file.write_bytes(msgspec.yaml.encode(content))
        return file
    raise InvalidInput("not the address of a model", where="path", found=url, expected=EXPECTED)
