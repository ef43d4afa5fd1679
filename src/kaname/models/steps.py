"""What a plan is compared with, and how its steps are made."""

from __future__ import annotations

from kaname.models import store
from kaname.models.plan import Actual, ActualVersion, Step
from kaname.models.registry import Models
from kaname.storage.sql.database import Database


def actual(database: Database, name: str) -> Actual | None:
    """What the registry has of a model now; None: nothing."""
    with database.read() as conn:
        model = store.find_model(conn, name)
        if model is None:
            return None
        promotions = store.history(conn, model.id)
        return Actual(
            loaded=model.loaded,
            promoted=promotions[0].version if promotions else None,
            config=store.decode(model.overrides, dict),
            versions={
                each.version: ActualVersion(archived=each.status == "archived", tags=each.tags)
                for each in store.versions_of(conn, model)
            },
        )


def make(models: Models, step: Step, who: str) -> None:
    """Make one step so, unless it adds a version: that needs the files. Raises what the registry does."""
    version = step.version or ""
    match step.action:
        case "tag":
            models.tag(step.model, version, add=step.give, remove=step.take, who=who)
        case "configure":
            models.override(step.model, step.config, unset=step.take, who=who)
        case "promote":
            models.promote(step.model, version, who=who)
        case "archive":
            models.archive(step.model, version, who=who)
        case "load" | "unload":
            models.set_loaded(step.model, step.action == "load", who=who)
