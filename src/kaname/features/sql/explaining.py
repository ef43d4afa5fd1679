"""What `EXPLAIN` says of a statement."""

from __future__ import annotations

from kaname.errors import InvalidInput
from kaname.features.ranges import Within
from kaname.features.sql.conditions import shown, value_shown
from kaname.features.sql.planning import check_allowed, plan_of
from kaname.features.sql.plans import Plan
from kaname.features.sql.statements import Asked, Delete, Insert, Select
from kaname.features.stored import StoredRelation


def explained(asked: Asked, stored: StoredRelation) -> dict[str, object]:
    """How a statement would be gone about, as a row."""
    if isinstance(asked, Insert):
        layouts = ", ".join(layout.name for layout in stored.layouts)
        return {"does": f"writes {_count(len(asked.rows), 'row')}", "layout": layouts, **_known_at(asked)}
    select = asked.chosen if isinstance(asked, Delete) else asked
    plan = plan_of(select, stored.placement)
    return {
        "does": "deletes the rows it reads" if isinstance(asked, Delete) else "reads rows",
        "layout": plan.layout.name,
        "access": plan.access,
        "reads": _reads(plan),
        "key": _key(plan),
        "filter": " AND ".join(map(shown, plan.rest)) or None,
        "order": _order(select, plan),
        "limit": select.limit,
        "other_layouts": ", ".join(plan.missing) or None,
        "refused": _refused(select, plan),
        **({} if isinstance(asked, Select) else _known_at(asked)),
    }


def _known_at(asked: Insert | Delete) -> dict[str, object]:
    return {} if asked.at is None else {"known_at": value_shown(asked.at)}


def _reads(plan: Plan) -> str:
    match plan.access:
        case "nothing":
            return "nothing: no row can meet the conditions"
        case "points":
            return f"{_count(len(plan.keys), 'row')} by key"
        case "ranges":
            return f"{_count(len(plan.spans), 'range')} of rows"
    return "all rows"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _key(plan: Plan) -> str | None:
    """What a row key begins with."""
    said = list(plan.equal) + ([] if plan.within is None else [_within(plan.within)])
    return ", ".join(said) or None


def _within(within: Within) -> str:
    if within.begins is not None:
        return f"{within.attribute} begins with {value_shown(within.begins)}"
    low = "" if within.low is None else f"{value_shown(within.low)} {'<' if within.low_open else '<='} "
    high = "" if within.high is None else f" {'<' if within.high_open else '<='} {value_shown(within.high)}"
    return f"{low}{within.attribute}{high}"


def _order(select: Select, plan: Plan) -> str | None:
    if not select.order:
        return None
    if plan.arranged == "as stored":
        return "as stored, from the end" if plan.reverse else "as stored"
    return "ranges are merged" if plan.arranged == "merged" else "rows are held and sorted"


def _refused(select: Select, plan: Plan) -> str | None:
    """Why the statement without EXPLAIN would not be answered."""
    try:
        check_allowed(select, plan)
    except InvalidInput as error:
        return str(error)
    return None
