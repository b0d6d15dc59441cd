"""Find and create plug-ins: shipped ones by name, third parties' by entry point, a user's own by file.

A spec is `name[:field=value[:field=value...]]`. Commas separate specs, so no name and no value holds `,` or `:`.
"""

from __future__ import annotations

from .find import Kind, available, find, usual_objective
from .settings import TRAINING_FIELDS
from .spec import Description, Spec, create, create_benchmark, describe, parse_judges, parse_objectives, recreate

__all__ = [
    "TRAINING_FIELDS", "Description", "Kind", "Spec", "available", "create", "create_benchmark", "describe", "find",
    "parse_judges", "parse_objectives", "recreate", "usual_objective",
]  # fmt: skip
