"""Remote models: the server is asked what it is, and whether it answers as it says.

Nothing is read that could run here and nothing is computed: no process of its own is needed.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median

import msgspec
import numpy as np

from kaname.clock import SystemClock
from kaname.errors import DeadlineExceeded, InvalidInput, Unavailable
from kaname.models.importing import draw, plain, sample
from kaname.models.importing.labels import named_classes
from kaname.models.importing.types import Imported, ImportRequest, Tensors
from kaname.models.types import RuntimeChoice, VersionInfo
from kaname.runtimes.catalog import FILES, REMOTE
from kaname.runtimes.remote.description import Remote, parse, read
from kaname.runtimes.remote.links import open_links
from kaname.runtimes.remote.session import RemoteSession
from kaname.runtimes.remote.types import Described, Trouble
from kaname.runtimes.types import Profile, SessionOptions
from kaname.signature import Signature
from kaname.tensors import TensorSpec

RUNS = 3
COMPARED = 4
"""Rows of which the answers in company are compared with those alone."""
_NOTHING = Signature(task="other", inputs=(), outputs=())


def import_remote(request: ImportRequest, workdir: Path, options: SessionOptions) -> Imported:
    """Import a description; its artefact lies in a new folder under `workdir`.

    Raises InvalidInput for a description that the server does not fulfil, RemoteFailed for a server that does not speak
    as described, Unavailable when no address answers, and what the server answers to the sample.
    """
    remote = read(request.path)
    notes: list[str] = []
    described = _described(remote, options, notes)
    signature = _signature(remote, described, str(request.path))
    signature = named_classes(signature, {**request.labels, **remote.labels}, notes)
    if remote.binary is None:
        remote = msgspec.structs.replace(remote, binary=described is not None and described.binary)
    rows = _rows(signature, request, notes)
    session = RemoteSession(remote, signature, options)
    try:
        profile = _profile(session, rows, signature, remote.batch_rows)
    except InvalidInput as error:
        error.message += "" if request.sample else " (the sample was made up: give one with --sample)"
        raise
    finally:
        session.close()
    return Imported(
        files=_written(remote, workdir),
        source=REMOTE,
        runtime=REMOTE,
        signature=signature,
        profile=profile,
        choices=(_choice(remote, profile),),
        sample=sample.body_of(rows, signature),
        notes=tuple(notes),
    )


def measure_remote(version: VersionInfo, artefact: Path, options: SessionOptions) -> tuple[Profile, RuntimeChoice]:
    """Ask a version's sample again. Raises what the server answers."""
    remote = parse(artefact / FILES[REMOTE])
    signature = version.signature
    assert version.sample is not None
    features = version.sample["features"]
    assert isinstance(features, dict)
    rows = sample.rows_of(sample.Sample(records=[features]), signature)
    session = RemoteSession(remote, signature, options)
    try:
        found = _profile(session, rows, signature, remote.batch_rows)
    finally:
        session.close()
    return found, _choice(remote, found)


def _choice(remote: Remote, profile: Profile) -> RuntimeChoice:
    reason = f"answers at {', '.join(remote.urls)}: {profile.us[0]:.0f} µs per request"
    return RuntimeChoice(runtime=REMOTE, file=FILES[REMOTE], profile=profile, chosen=True, reason=reason)


def _written(remote: Remote, workdir: Path) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="import-", dir=workdir))
    (folder / FILES[REMOTE]).write_bytes(msgspec.json.encode(remote))
    return folder


# --- what the server says -------------------------------------------------------------------------------


def _described(remote: Remote, options: SessionOptions, notes: list[str]) -> Described | None:
    """What the addresses say of the model, which must be the same; those that are not there are noted."""
    found: dict[str, Described | None] = {}
    absent: list[Trouble] = []
    for link in open_links(remote, _NOTHING, options.remotes):
        try:
            found[link.address] = link.described(remote.timeout_ms / 1000)
        except Trouble as trouble:
            if not isinstance(trouble.error, Unavailable | DeadlineExceeded):
                raise trouble.error from trouble
            absent.append(trouble)
        finally:
            link.close()
    if not found:
        raise absent[0].error
    notes += [f"not asked: {trouble.error}" for trouble in absent]
    first, said = next(iter(found.items()))
    for address, other in found.items():
        if other != said:
            expected = f"{_shown(said)}, as {first} has it"
            raise InvalidInput(
                "the addresses serve different models", where=address, found=_shown(other), expected=expected
            )
    return said


def _signature(remote: Remote, described: Described | None, where: str) -> Signature:
    """The declared signature, which the server must have, or what the server's description says."""
    declared = remote.declared(where)
    if described is None:
        assert declared is not None  # as the description was checked
        return declared
    if declared is None:
        return plain.signature_of(described.inputs, described.outputs)
    for kind, wanted, there in (
        ("inputs", declared.inputs, described.inputs),
        ("outputs", declared.outputs, described.outputs),
    ):
        known = {spec.name: spec for spec in there}
        for i, spec in enumerate(wanted):
            one = known.get(spec.name)
            if one is None or one.datatype != spec.datatype or len(one.shape) != len(spec.shape):
                raise InvalidInput(
                    "the server's model has another signature",
                    where=f"{where}: signature.{kind}[{i}]",
                    found=", ".join(map(_spec, there)),
                    expected=_spec(spec),
                )
    return declared


def _shown(described: Described | None) -> str:
    if described is None:
        return "nothing"
    return f"{', '.join(map(_spec, described.inputs))} -> {', '.join(map(_spec, described.outputs))}"


def _spec(spec: TensorSpec) -> str:
    return f"{spec.name}: {spec.datatype}{list(spec.shape)}"


# --- what it answers ------------------------------------------------------------------------------------


def _rows(signature: Signature, request: ImportRequest, notes: list[str]) -> Tensors:
    if request.sample is not None:
        return sample.rows_of(sample.read(request.sample), signature)
    notes.append("no sample was given: one of random numbers was made up")
    return draw.blank(signature, np.random.default_rng(4), 1, 1)


def _profile(session: RemoteSession, rows: Tensors, signature: Signature, batch_rows: int) -> Profile:
    """The time of a request with one row and, where rows share requests, with as many as may; and whether they then get
    the same answers as alone."""
    if not signature.batched or batch_rows == 1:
        one = sample.narrow(tuple(x[:1] for x in rows) if signature.batched else rows, signature)
        return Profile(rows=(1,), us=(_us(session, one),), best_rows=1, exact=True, splits=signature.batched)
    several = sample.narrow(draw.near(rows, signature, batch_rows, np.random.default_rng(20)), signature)
    alone = [tuple(x[i : i + 1] for x in several) for i in range(min(batch_rows, COMPARED))]
    together = session.run(several)
    apart = [session.run(one) for one in alone]
    same = all(
        a.tolist() == b[: len(alone)].tolist()
        for a, b in zip(map(np.concatenate, zip(*apart, strict=True)), together, strict=True)
    )
    us = (_us(session, alone[0]), _us(session, several))
    return Profile(rows=(1, batch_rows), us=us, best_rows=batch_rows, exact=same, splits=True)


def _us(session: RemoteSession, inputs: Tensors) -> float:
    clock = SystemClock()
    times = []
    for _ in range(RUNS):
        began = clock.monotonic_ns()
        session.run(inputs)
        times.append((clock.monotonic_ns() - began) / 1000)
    return round(median(times), 1)
