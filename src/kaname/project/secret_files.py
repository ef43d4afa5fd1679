"""Secrets that a setting names a file for: `password_file: /run/secrets/redis` is read into `password`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kaname.errors import InvalidInput, KanameError
from kaname.project.typed import is_secret, type_at

ENDING = "_file"


def read_secret_files(
    values: dict[str, object], origins: dict[str, str], root: Path, of: type
) -> Iterator[KanameError]:
    """Set each secret of the Struct `of` whose file is named in `values` (dotted names); yields what is wrong.

    Relative paths start at `root`. The origin of such a secret says the file's name as well.
    """
    for name, path in list(values.items()):
        secret = name.removesuffix(ENDING)
        if secret == name or path is None or not is_secret(type_at(of, tuple(secret.split(".")))):
            continue
        where = origins[name]
        if values.get(secret) is not None:
            expected = f"one of {secret} and {name}"
            yield InvalidInput(f"`{secret}` is given twice", where=where, found=str(path), expected=expected)
            continue
        try:
            values[secret] = (root / str(path)).read_text().removesuffix("\n").removesuffix("\r")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not text"
            yield InvalidInput(f"the file of `{secret}` cannot be read", where=where, found=f"{path}: {reason}")
            continue
        origins[secret] = f"{where} ({path})"
        if not values[secret]:
            del values[secret], origins[secret]
            yield InvalidInput(f"the file of `{secret}` is empty", where=where, found=str(path))
