"""A project's files and settings: every fault is named with file, line, column, what was found and expected."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaname.errors import InvalidInput, KanameError, NotFound
from kaname.project import find, load, load_valid, parse, problems_in, read_yaml
from kaname.project.typed import near
from kaname.settings import Settings

BAD_YAML = [
    ("tab", b"server:\n\tport: 1\n", "2:1", "indentation with a tab"),
    ("duplicate-key", b"server:\n  port: 1\n  port: 2\n", "3:3", "`port` is here twice; found the first in line 2"),
    ("duplicate-group", b"server: {}\nname: x\nserver: {}\n", "3:1", "`server` is here twice"),
    ("wrong-type", b"server:\n  port: eighty\n", "2:9", 'found "eighty"; expected a whole number'),
    ("unknown-key", b"server:\n  prot: 1\n", "2:3", "unknown key `prot`; expected `port`"),
    ("unknown-group", b"sever: {}\n", "1:1", "unknown key `sever`; expected `server`"),
    ("unknown-key-no-guess", b"access:\n  zzz: 1\n", "2:3", "expected one of allow_insecure_bind"),
    ("unknown-key-part-of-name", b"models: {limits: {rate: 5}}\n", "1:19", "expected `rate_rows_per_s`"),
    ("dashes", b"server:\n  max-headers: 5\n", "2:3", "expected `max_headers`"),
    ("list-document", b"- a\n", "1:1", "found a list; expected a mapping"),
    ("text-document", b"just text\n", "1:1", 'found "just text"; expected a mapping'),
    ("too-large", b"server: {port: 70000}\n", "1:16", "found 70000; expected a whole number <= 65535"),
    ("too-small", b"inference: {threads: 0}\n", "1:22", "expected a whole number >= 1"),
    ("fraction", b"server: {port: 7.5}\n", "1:16", "found 7.5; expected a whole number"),
    ("out-of-range-low", b"record: {commit_ms: 0.5}\n", "1:21", "expected a number >= 1.0"),
    ("out-of-range-high", b"record:\n  commit_ms: 60\n", "2:14", "expected a number <= 50.0"),
    ("underscores", b"server: {port: 1_000}\n", "1:16", 'found "1_000"'),
    ("not-a-number", b"record: {retain_days: .nan}\n", "1:23", "expected a number"),
    ("yes-is-text", b"access: {allow_insecure_bind: yes}\n", "1:31", "expected true or false"),
    ("no-choice", b"access:\n  authentication: no\n", "2:19", 'found "no"; expected off or required'),
    ("choice", b"profile: laptop\n", "1:10", "expected cluster or local"),
    ("deep-choice", b"models:\n  record:\n    policy: sometimes\n", "3:13", "expected block or drop or sample"),
    ("number-for-text", b"name: 12\n", "1:7", "found 12; expected text"),
    ("text-for-list", b"server: {allowed_hosts: example.com}\n", "1:25", "expected a list"),
    ("bad-list-item", b"server: {allowed_hosts: [a, 1]}\n", "1:29", "`server.allowed_hosts[1]`"),
    ("null-for-number", b"inference: {threads: null}\n", "1:22", "found nothing; expected a whole number"),
    ("null-group", b"server:\n", "1:8", "found nothing; expected a mapping"),
    ("number-for-group", b"server: 8080\n", "1:9", "found 8080; expected a mapping"),
    ("open-list", b"server: [\n", "2:1", "not YAML"),
    ("open-quote", b"name: 'x\n", "2:1", "not YAML"),
    ("colon-in-value", b"name: x: y\n", "1:8", "not YAML: mapping values are not allowed here"),
    ("bad-indent", b"server:\n  port: 1\n    host: x\n", "3:9", "not YAML"),
    ("bad-escape", b'name: "a\\qb"\n', "1:10", "unknown escape character"),
    ("reserved-character", b"@name: x\n", "1:1", "not YAML"),
    ("two-documents", b"name: a\n---\nname: b\n", "2:1", "another document"),
    ("future-yaml", b"%YAML 9.9\n---\nname: x\n", "1:1", "incompatible YAML document"),
    ("unknown-alias", b"name: *nowhere\n", "1:7", "undefined alias 'nowhere'"),
    ("circular-alias", b"name: &a [*a]\n", "1:7", "an alias inside the value that it names"),
    ("wrong-alias", b"server: &s {port: 1}\naccess: *s\n", "1:13", "unknown key `port`"),
    ("merge-key", b"<<: {name: x}\n", "1:1", "merge keys are not part of YAML 1.2"),
    ("python-tag", b"name: !!python/object:os.system x\n", "1:7", "found !!python/object:os.system; expected no tag"),
    ("own-tag", b"name: !secret x\n", "1:7", "found !secret"),
    ("tag-on-mapping", b"server: !x {}\n", "1:9", "found !x"),
    ("number-key", b"1: x\n", "1:1", 'expected text, as in "1"'),
    ("list-key", b"? [a, b]\n: 1\n", "1:3", "a key is a name"),
    ("latin-1", "name: é\n".encode("latin-1"), "1:7", "found byte 0xe9; expected UTF-8"),
    ("latin-1-later", "name: x\n# né\n".encode("latin-1"), "2:4", "expected UTF-8"),
    ("utf-16", "name: x\n".encode("utf-16"), "1:1", "found UTF-16; expected UTF-8"),
    ("control-character", b"name: x\x07y\n", "1:8", "found U+0007"),
    ("deep-nesting", b"[" * 5000, "1:1", "nested too deeply"),
    ("after-a-bom", b"\xef\xbb\xbfname: 1\n", "1:7", "expected text"),
]


@pytest.mark.parametrize(("raw", "place", "said"), [case[1:] for case in BAD_YAML], ids=[case[0] for case in BAD_YAML])
def test_a_fault_in_kaname_yaml_is_named_with_its_place(tmp_path: Path, raw: bytes, place: str, said: str) -> None:
    """Each fault gives one problem with the exact file:line:column; the defaults stay in force."""
    (tmp_path / "kaname.yaml").write_bytes(raw)
    project, problems = load(tmp_path, {})
    assert [problem.where for problem in problems] == [f"kaname.yaml:{place}"]
    assert said in str(problems[0])
    assert project.settings == Settings()


BAD_VARIABLES = [
    ("KANAME_SERVER__PORT", "eighty", 'found "eighty"; expected a whole number'),
    ("KANAME_SERVER__PORT", "70000", "expected a whole number <= 65535"),
    ("KANAME_SERVER__PROT", "1", "no such setting: server.prot; expected `port`"),
    ("KANAME_SEVER__PORT", "1", "expected `server`"),
    ("KANAME_SERVER__PORT__MORE", "1", "no such setting: server.port.more; expected nothing"),
    ("KANAME_SERVER", "1", "a group of settings, not a setting; expected KANAME_SERVER__HOST, for example"),
    ("KANAME_PROFLE", "cluster", "expected `profile`"),
    ("KANAME_PROFILE", "laptop", "expected cluster or local"),
    ("KANAME_ACCESS__ALLOW_INSECURE_BIND", "maybe", "expected true or false"),
    ("KANAME_RECORD__COMMIT_MS", "nan", "expected"),
    ("KANAME_INFERENCE__THREADS", "", "expected a whole number"),
]


@pytest.mark.parametrize(("variable", "value", "said"), BAD_VARIABLES)
def test_a_fault_in_the_environment_names_the_variable(tmp_path: Path, variable: str, value: str, said: str) -> None:
    """Each bad variable is one problem that names it and says what would do."""
    (tmp_path / "kaname.yaml").touch()
    _, problems = load(tmp_path, {variable: value})
    assert [problem.where for problem in problems] == [variable]
    assert said in str(problems[0])


def test_later_sources_win_and_every_value_knows_its_origin(tmp_path: Path) -> None:
    """Command line over environment over file over profile over default, each named as the origin."""
    (tmp_path / "kaname.yaml").write_text("profile: cluster\nserver:\n  port: 1\n  host: localhost\n  workers: 3\n")
    environ = {"KANAME_SERVER__PORT": "2", "KANAME_SERVER__WORKERS": "4", "KANAME_DEBUG": "1", "PATH": "/bin"}
    project = load_valid(tmp_path, environ, {"server.workers": 5})
    server = project.settings.server
    assert (server.host, server.port, server.workers) == ("localhost", 2, 5)
    assert project.settings.access.rate_rows_per_s == 1000.0
    assert project.origins == {
        "profile": "kaname.yaml:1:10",
        "server.host": "kaname.yaml:4:9",
        "server.port": "KANAME_SERVER__PORT",
        "server.workers": "command line",
        "access.rate_rows_per_s": "profile cluster",
    }


def test_the_profile_of_the_environment_brings_its_defaults_but_never_overrides(tmp_path: Path) -> None:
    """A profile only changes defaults: a rate in the file stands."""
    (tmp_path / "kaname.yaml").write_text("access:\n  rate_rows_per_s: 5\n")
    project = load_valid(tmp_path, {"KANAME_PROFILE": "cluster"})
    assert project.settings.access.rate_rows_per_s == 5.0


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("KANAME_SERVER__ALLOWED_HOSTS", "a.example, b.example", ("a.example", "b.example")),
        ("KANAME_SERVER__ALLOWED_HOSTS", "", ()),
        ("KANAME_SERVER__HOST", "8080", "8080"),
        ("KANAME_ACCESS__RATE_ROWS_PER_S", "2.5", 2.5),
        ("KANAME_ACCESS__RATE_ROWS_PER_S", "null", None),
        ("KANAME_ACCESS__ALLOW_INSECURE_BIND", "true", True),
        ("KANAME_MODELS__RECORD__POLICY", "block", "block"),
    ],
)
def test_variables_take_the_type_of_their_setting(tmp_path: Path, variable: str, text: str, value: object) -> None:
    """Text becomes a number, a choice, a list or nothing, as the setting wants."""
    (tmp_path / "kaname.yaml").touch()
    found: object = load_valid(tmp_path, {variable: text}).settings
    for name in variable.removeprefix("KANAME_").lower().split("__"):
        found = getattr(found, name)
    assert found == value


def test_off_is_a_word_and_dates_are_text() -> None:
    """The core schema of YAML 1.2: what looks like text is text."""
    raw = b"a: off\nb: 2026-11-22\nc: 12:30\nd: 0x1f\ne: ~\nf: 1e3\ng: 010\nh: 'true'\n"
    assert parse(raw, "x").value == {
        "a": "off", "b": "2026-11-22", "c": "12:30", "d": 31, "e": None, "f": 1000.0, "g": 10, "h": "true",
    }  # fmt: skip


def test_an_empty_file_means_every_default(tmp_path: Path) -> None:
    """Nothing has to be written."""
    (tmp_path / "kaname.yaml").write_bytes(b"# nothing yet\n")
    assert load_valid(tmp_path, {}).settings == Settings()


def test_an_open_door_is_refused_unless_it_is_meant(tmp_path: Path) -> None:
    """Another address without authentication is a problem at the host's place; an explicit permission lifts it."""
    file = tmp_path / "kaname.yaml"
    file.write_text("access: {authentication: off}\nserver:\n  host: 0.0.0.0\n")
    _, problems = load(tmp_path, {})
    assert [problem.where for problem in problems] == ["kaname.yaml:3:9"]
    file.write_text(
        "access:\n  authentication: off\n  allow_insecure_bind: true\nserver:\n  host: 0.0.0.0\n",
    )
    assert load(tmp_path, {})[1] == []


def test_all_problems_are_listed_in_the_order_of_the_file(tmp_path: Path) -> None:
    """One run shows every fault; the single error of `load_valid` counts the others."""
    (tmp_path / "kaname.yaml").write_bytes(b"server:\n  port: x\n  prot: 1\n  allowed_hosts: [1, a, 2]\nname: 3\n")
    _, problems = load(tmp_path, {"KANAME_RECORD__COMMIT_MS": "90"})
    assert [problem.where for problem in problems] == [
        "kaname.yaml:2:9",
        "kaname.yaml:3:3",
        "kaname.yaml:4:19",
        "kaname.yaml:4:25",
        "kaname.yaml:5:7",
        "KANAME_RECORD__COMMIT_MS",
    ]
    with pytest.raises(InvalidInput, match=r"and 5 more"):
        load_valid(tmp_path, {"KANAME_RECORD__COMMIT_MS": "90"})


class Part(msgspec.Struct, forbid_unknown_fields=True):
    size: int
    names: dict[str, int] = {}


class Whole(msgspec.Struct, forbid_unknown_fields=True):
    parts: list[Part]
    by_name: dict[str, Part] = {}


def test_places_inside_lists_and_free_mappings() -> None:
    """A key that the checker does not name (`[...]`) is found, and list positions survive what was taken out."""
    raw = b"""\
parts:
  - {size: x}
  - {size: 1}
  - {names: {a: 1}}
  - {size: 1, names: {a: 1, b: two, c: three}}
by_name:
  good: {size: 1}
  bad: {size: 1, sise: 2}
"""
    value, problems = problems_in(parse(raw, "f"), Whole)
    assert value is None
    assert [str(problem) for problem in problems] == [
        'f:2:12: `parts[0].size` is not what it should be; found "x"; expected a whole number',
        "f:4:5: `parts[2].size` is missing",
        'f:5:32: `parts[3].names.b` is not what it should be; found "two"; expected a whole number',
        'f:5:40: `parts[3].names.c` is not what it should be; found "three"; expected a whole number',
        "f:8:18: unknown key `sise`; expected `size`",
    ]


def test_few_lines_cannot_fill_the_memory() -> None:
    """Nested aliases are counted as what they expand to."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(InvalidInput, match="too many values"):
        parse("\n".join(lines).encode(), "f")


def test_the_project_is_found_from_inside_it(tmp_path: Path) -> None:
    """The nearest folder above that holds kaname.yaml; without one, the error says how to make one."""
    inner = tmp_path / "models" / "deep"
    inner.mkdir(parents=True)
    (tmp_path / "kaname.yaml").touch()
    assert find(inner) == tmp_path.resolve()
    (tmp_path / "kaname.yaml").unlink()
    with pytest.raises(NotFound, match="kaname init"):
        find(inner)


def test_a_missing_or_unreadable_file_is_an_error_not_a_crash(tmp_path: Path) -> None:
    """A folder in the place of a file and no file at all are told apart."""
    with pytest.raises(NotFound, match="no such file"):
        read_yaml(tmp_path / "none.yaml", Settings)
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_yaml(tmp_path, Settings)


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_reader(raw: bytes) -> None:
    """Anything is either a document or an error that names a place in the file."""
    try:
        problems = problems_in(parse(raw, "f"), Settings)[1]
    except KanameError as error:
        problems = [error]
    assert all(str(problem.where).startswith("f:") for problem in problems)


@given(st.text(alphabet="abc:-[]{}&*!|>'\"#,? \n\t%@0.", max_size=60))
def test_no_text_crashes_the_reader(text: str) -> None:
    """The same for text that looks like YAML."""
    test_no_bytes_crash_the_reader.hypothesis.inner_test(text.encode())  # type: ignore[attr-defined]


def test_near_names() -> None:
    """A slip of the pen gets a suggestion, something else the whole list."""
    assert near("wrokers", ["workers", "port"]) == "`workers`"
    assert near("zz", ["workers", "port"]) == "one of port, workers"


@pytest.mark.parametrize(
    ("issuers", "said"),
    [
        (
            "[{name: a, issuer: 'https://a', audience: [x], jwks: 'http://a.example/keys'}]",
            "replaced on the way",
        ),
        ("[{name: a, issuer: 'http://a.example', audience: [x]}]", "replaced on the way"),
        ("[{name: a, issuer: plain, audience: [x]}]", "replaced on the way"),
        ("[{name: a, issuer: i, audience: [x], jwks: k}, {name: a, issuer: j, audience: [x], jwks: k}]", "of one name"),
    ],
)
def test_an_issuer_that_cannot_be_trusted_is_refused(tmp_path: Path, issuers: str, said: str) -> None:
    """Keys come over HTTPS, from this machine or from a file; the place of the fault is named."""
    (tmp_path / "kaname.yaml").write_text(f"access:\n  tokens: {issuers}\n")
    _, problems = load(tmp_path, {})
    assert len(problems) == 1
    assert str(problems[0].where).startswith("kaname.yaml:2:")
    assert said in str(problems[0])


def test_groups_in_a_list_come_from_the_environment_as_json(tmp_path: Path) -> None:
    """Commas could not say them; a fault names the variable."""
    (tmp_path / "kaname.yaml").touch()
    issuer = '[{"name": "a", "issuer": "https://a", "audience": ["x"], "jwks": "keys.json"}]'
    found = load_valid(tmp_path, {"KANAME_ACCESS__TOKENS": issuer}).settings.access.tokens
    assert [(one.name, one.jwks) for one in found] == [("a", "keys.json")]
    for bad in ("a,b", '[{"name": "a"}]'):
        _, problems = load(tmp_path, {"KANAME_ACCESS__TOKENS": bad})
        assert [problem.where for problem in problems] == ["KANAME_ACCESS__TOKENS"]
