"""Makes a view of its declaration, the relations and the project's code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from kaname.errors import InvalidInput
from kaname.features.declared import Word
from kaname.features.layout import Layout
from kaname.features.plain import reader_of
from kaname.features.problems import Problems
from kaname.features.ranges import following
from kaname.features.schemas import Schemas
from kaname.features.types import Attribute, Relation, Type
from kaname.features.views.code import computed_by, declared_function
from kaname.features.views.columns import kind_of
from kaname.features.views.declared import DeclaredFeature, DeclaredFunction, DeclaredRead, DeclaredView, Source
from kaname.features.views.expressions import compile_expression
from kaname.features.views.types import NOW, Derived, Feature, Kind, Read, View

TIME = Type("timestamp")
_TYPES: dict[Kind, Type] = {"number": Type("float64"), "bool": Type("bool"), "text": Type("string"), "time": TIME}


def view_of(said: DeclaredView, source: Source, schemas: Schemas, project: Path, problems: Problems) -> View | None:
    """The view, or None when there is something wrong with it."""
    before = len(problems)
    view = _Checking(said, source, schemas, project, problems).view()
    return view if len(problems) == before else None


def ordered(layouts: tuple[Layout, ...], read: Read) -> Layout | None:
    """The layout in which the newest row of a read is one end of a range: it holds all that is read."""
    wanted = {feature.attribute for feature in read.features}
    for layout in layouts:
        known = following(layout.row, read.key)
        leading = {part.attribute for part in layout.row[:known]}
        behind = layout.row[known] if known < len(layout.row) else None
        alone = behind is not None and behind.ordered and behind.attribute == read.latest
        if alone and leading.issuperset(read.key) and wanted.issubset(layout.attributes):
            return layout
    return None


class _Checking:
    """One file, from top to bottom."""

    def __init__(self, said: DeclaredView, source: Source, schemas: Schemas, project: Path, problems: Problems) -> None:
        self._said = said
        self._source = source
        self._schemas = schemas
        self._project = project
        self._problems = problems
        self._entity: dict[str, Type] = {}
        self._taken: dict[str, str] = {NOW: "the moment"}

    def view(self) -> View:
        said = self._said
        self._problems.check_name("view", self._word(said.name, "name"))
        for i, name in enumerate(said.entity):
            self._name(name, "entity key", self._at("entity", i))
        if not said.entity:
            self._problems.add("a view of no entity", self._at("entity"), None, "at least one key")
        if not said.reads:
            self._problems.add("a view that reads nothing", self._at("reads"), None, "at least one relation")
        reads = [read for i, each in enumerate(said.reads) if (read := self._read(i, each)) is not None]
        if reads and len(reads) == len(said.reads):
            self._check_entity()
        derived = self._derived(reads) if len(reads) == len(said.reads) else ()
        return View(name=said.name, entity=self._entity, reads=tuple(reads), derived=tuple(derived))

    # --- reads --------------------------------------------------------------------------------------------

    def _read(self, i: int, said: DeclaredRead) -> Read | None:
        known = self._problems.check_known(
            "relation", self._word(said.relation, "reads", i, "relation"), [*self._schemas.relations]
        )
        if not known:
            return None
        relation = self._schemas.relations[said.relation]
        before = len(self._problems)
        key = self._key(i, said, relation)
        if len(self._problems) > before:
            return None
        found = [self._feature(("reads", i, "features", name), name, said, relation) for name in said.features]
        features = tuple(feature for feature in found if feature is not None)
        if not said.features:
            self._problems.add("nothing is read", self._at("reads", i, "features"), None, "a feature")
        read = Read(relation=said.relation, key=key, latest=said.latest, features=features)
        if len(self._problems) == before:
            self._check_layout(i, read)
        return read if len(self._problems) == before else None

    def _key(self, i: int, said: DeclaredRead, relation: Relation) -> dict[str, str]:
        names = tuple(attribute.name for attribute in relation.key)
        what = f"key attribute of `{relation.name}`"
        for name, entity in said.key.items():
            if self._problems.check_known(what, self._key_word(name, "reads", i, "key"), names):
                self._problems.check_known("entity key", self._word(entity, "reads", i, "key", name), self._said.entity)
        if said.latest is not None and not self._check_latest(i, said.latest, said, relation):
            return {}
        key: dict[str, str] = {}
        for attribute in relation.key:
            entity = said.key.get(attribute.name, attribute.name)
            if attribute.name == said.latest:
                continue
            if entity in self._said.entity:
                key[attribute.name] = entity
                self._entity_type(entity, attribute, self._at("reads", i, "relation"))
            elif attribute.name not in said.key:
                expected = f"an entity key for it under `key`, or `latest: {attribute.name}` if it is a time"
                self._problems.add(
                    f"nothing says which `{attribute.name}`", self._at("reads", i, "relation"), relation.name, expected
                )
        return key

    def _check_latest(self, i: int, name: str, said: DeclaredRead, relation: Relation) -> bool:
        times = [attribute.name for attribute in relation.key if attribute.type.name == "timestamp"]
        word = self._word(name, "reads", i, "latest")
        if not self._problems.check_known(f"timestamp in the key of `{relation.name}`", word, times):
            return False
        if name in said.key or len(relation.key) == 1:
            self._problems.add("of which rows the newest?", word.at, name, "another attribute of the key, and not this")
            return False
        return True

    def _entity_type(self, entity: str, attribute: Attribute, at: str) -> None:
        first = self._entity.setdefault(entity, attribute.type)
        if first != attribute.type:
            self._problems.add(
                f"entity key `{entity}` is a {first} in another relation", at, f"{attribute.name} {attribute.type}"
            )

    def _feature(self, at: tuple[str | int, ...], name: str, read: DeclaredRead, relation: Relation) -> Feature | None:
        said = read.features[name] or DeclaredFeature()
        place, before = str(self._source.place_of_key(at)), len(self._problems)
        self._name(name, "feature", place)
        wanted = said.attribute or name
        word = Word(wanted, place if said.attribute is None else self._at(*at, "attribute"))
        if not self._problems.check_known(f"attribute of `{relation.name}`", word, relation.names):
            return None
        attribute = next(each for each in relation.attributes if each.name == wanted)
        if attribute.key and wanted != read.latest:
            self._problems.add("what is known from the entity is not read", word.at, wanted, "an attribute off the key")
        default = self._default(said, attribute, at)
        age_s = said.max_age_s or read.max_age_s
        if len(self._problems) > before:
            return None
        max_age_us = None if age_s is None else round(age_s * 1e6)
        return Feature(name=name, attribute=wanted, type=attribute.type, max_age_us=max_age_us, default=default)

    def _default(self, said: DeclaredFeature, attribute: Attribute, at: tuple[str | int, ...]) -> object:
        if said.default is msgspec.UNSET or said.default is None:
            return said.default
        try:
            return reader_of(attribute)(said.default)
        except InvalidInput as error:
            self._note(
                InvalidInput(f"not a value of type {attribute.type}", found=error.found, expected=error.expected),
                *at,
                "default",
            )
            return None

    def _check_layout(self, i: int, read: Read) -> None:
        layouts = self._schemas.layouts[read.relation]
        at = self._at("reads", i, "relation")
        if not layouts:
            self._problems.add("a relation without a schema has no rows", at, read.relation, "`define schema …`")
        elif read.latest is not None and ordered(layouts, read) is None:
            expected = f"a schema with `{', '.join(read.key)}` in front of `{read.latest}` that holds all features here"
            self._problems.add("no schema keeps the rows of one entity in the order of time", at, None, expected)

    # --- entity and derived columns -----------------------------------------------------------------------

    def _check_entity(self) -> None:
        for i, name in enumerate(self._said.entity):
            if name not in self._entity:
                self._problems.add(
                    "an entity key that finds nothing", self._at("entity", i), name, "a key of a relation read here"
                )

    def _derived(self, reads: list[Read]) -> Iterator[Derived]:
        types = {**self._entity, **{f.name: f.type for read in reads for f in read.features}, NOW: TIME}
        kinds = {name: kind_of(of) for name, of in types.items()}
        for name, said in self._said.derived.items():
            at = ("derived", name)
            self._name(name, "derived column", str(self._source.place_of_key(at)))
            try:
                column = (
                    self._function(name, said, kinds) if not isinstance(said, str) else _expression(name, said, kinds)
                )
            except InvalidInput as error:
                self._note(error, *at)
                continue
            kinds[name] = kind_of(column.type) if column.type.name != "bool" else "bool"
            yield column

    def _function(self, name: str, said: DeclaredFunction, kinds: dict[str, Kind]) -> Derived:
        function = declared_function(self._project, said.function)
        for parameter in function.parameters:
            if parameter not in kinds:
                message = f"a parameter of {function.name} is no column before this one"
                raise InvalidInput(message, found=f"`{parameter}`", expected=f"one of {', '.join(kinds)}")
        if not function.parameters:
            raise InvalidInput("a function of no column", found=f"`{said.function}`", expected="parameters")
        kind: Kind = "bool" if said.type == "bool" else kind_of(Type(said.type))
        compute, load = computed_by(function, kind, name)
        return Derived(
            name=name,
            type=Type(said.type),
            inputs=function.parameters,
            says=said.function,
            compute=compute,
            load=load,
        )

    # --- places -------------------------------------------------------------------------------------------

    def _name(self, name: str, what: str, at: str) -> None:
        """Columns of a view share one room for names."""
        self._problems.check_name(what, Word(name, at))
        if not name or not name.isprintable():
            self._problems.add("not a name", at, name, "letters")
        elif name in self._taken:
            self._problems.add(f"a second column of that name: there is {self._taken[name]}", at, name)
        self._taken.setdefault(name, f"the {what} at {at}")

    def _note(self, error: InvalidInput, *path: str | int) -> None:
        """A fault that was found where its place is not known."""
        error.where = self._at(*path)
        self._problems.found.append(error)

    def _at(self, *path: str | int) -> str:
        return str(self._source.place(path))

    def _word(self, text: str, *path: str | int) -> Word:
        return Word(text, self._at(*path))

    def _key_word(self, text: str, *path: str | int) -> Word:
        return Word(text, str(self._source.place_of_key((*path, text))))


def _expression(name: str, text: str, kinds: dict[str, Kind]) -> Derived:
    found = compile_expression(text, kinds)
    return Derived(name=name, type=_TYPES[found.kind], inputs=found.names, says=text.strip(), compute=found.compute)
