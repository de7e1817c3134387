"""The `[reward]` table: what each part of a route's reward weighs."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class PlanRewards(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What each part of a route's reward weighs."""

    prize: Annotated[float, Meta(description="the route reached the prize")] = 1.0
    steps: Annotated[
        float, Meta(description="times −(moves made / max_steps): shorter routes earn more")
    ] = 0.0
    format: Annotated[
        float, Meta(description="the completion was complete and nothing but moves")
    ] = 0.1
    progress: Annotated[
        float,
        Meta(
            description="times the share of the shortest way to the prize that was gained (all of "
            "it at the prize; negative when the route led away)"
        ),
    ] = 0.2
