"""The profiles of `~/.aws`: what the usual tools read beside the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from configparser import ConfigParser, Error
from pathlib import Path

from kaname.errors import InvalidInput

OPTIONS = {
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "aws_session_token": "session_token",
    "region": "region",
    "endpoint_url": "endpoint",
}
"""An option of the files and what the client calls it."""
VARIABLES = {
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "endpoint": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
}
"""Environment variables that come before the files."""


def aws_profile(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """What the profile in force sets and the environment does not; empty where there are no such files.

    `AWS_PROFILE`, `AWS_SHARED_CREDENTIALS_FILE` and `AWS_CONFIG_FILE` count. Keys of a profile are left out when the
    environment has some. Raises InvalidInput for a named profile that is nowhere, or a file that cannot be read.
    """
    environ = os.environ if environ is None else environ
    name = environ.get("AWS_PROFILE", "default")
    files = [
        (Path(environ.get("AWS_CONFIG_FILE", "~/.aws/config")).expanduser(), f"profile {name}"),
        (Path(environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")).expanduser(), name),
    ]
    sections = [found for path, section in files if (found := _section(path, section, name)) is not None]
    if not sections and "AWS_PROFILE" in environ:
        raise InvalidInput("no such profile", where="AWS_PROFILE", found=name, expected=f"a section of {files[1][0]}")
    options = {OPTIONS[key]: value for section in sections for key, value in section.items() if key in OPTIONS}
    for option, variables in VARIABLES.items():
        if value := next((environ[variable] for variable in variables if environ.get(variable)), None):
            options[option] = value
    if environ.get("AWS_ACCESS_KEY_ID"):
        options = {option: value for option, value in options.items() if option in VARIABLES}
    return options


def _section(path: Path, section: str, name: str) -> Mapping[str, str] | None:
    """One section of a file of profiles; the default one stands in both files under its plain name."""
    parser = ConfigParser(interpolation=None, default_section="")
    try:
        with path.open() as file:
            parser.read_file(file)
    except FileNotFoundError:
        return None
    except (OSError, Error, UnicodeDecodeError):
        raise InvalidInput("the file of profiles cannot be read", where=str(path)) from None
    wanted = name if name == "default" else section
    return parser[wanted] if parser.has_section(wanted) else None
