"""Network file systems are told from local ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaname.errors import InvalidInput
from kaname.storage.mapped.filesystem import NETWORK, filesystem_type, require_local


def test_this_machine_s_file_systems_are_local(tmp_path: Path) -> None:
    """A temporary folder and the process table are accepted, and have the types the kernel documents."""
    require_local(tmp_path)
    assert filesystem_type(Path("/proc")) == 0x9FA0
    with pytest.raises(FileNotFoundError):
        filesystem_type(tmp_path / "missing")


@pytest.mark.parametrize(("f_type", "name"), NETWORK.items())
def test_network_file_systems_are_refused_by_name(tmp_path: Path, f_type: int, name: str) -> None:
    """Each known network file system is refused with its name and the folder."""
    with pytest.raises(InvalidInput) as caught:
        require_local(tmp_path, f_type)
    assert caught.value.found == name
    assert caught.value.where == str(tmp_path)
