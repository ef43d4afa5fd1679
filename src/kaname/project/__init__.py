"""A project folder: where it is, what its files say, and the place of every value in them."""

from kaname.project.document import Document, Place, parse, read
from kaname.project.files import Files
from kaname.project.folder import FILE, Project, find, load, load_valid
from kaname.project.typed import problems_in, read_yaml

__all__ = [
    "FILE",
    "Document",
    "Files",
    "Place",
    "Project",
    "find",
    "load",
    "load_valid",
    "parse",
    "problems_in",
    "read",
    "read_yaml",
]
