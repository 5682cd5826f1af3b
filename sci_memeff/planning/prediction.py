"""What is expected of a plan, and what each of its choices buys."""

from __future__ import annotations

from typing import Any

from sci_memeff._plan_table import in_words
from sci_memeff._prediction import Action, Prediction, Tier
from sci_memeff._rule import Rule
from sci_memeff.checkpointing import Coded
from sci_memeff.kernels import attend
from sci_memeff.planning.groups import AttendGroup, RecipeGroup, SliceGroup, StackGroup
from sci_memeff.planning.search import Found, Search

__all__ = ["MARGIN", "predicted"]

# What a caching allocator holds beyond live bytes, as a fraction of them: blocks rounded up, gaps
# between them, and kernels' workspace.
MARGIN = 0.08


def predicted(search: Search, found: Found, budget: int | None) -> Prediction:
    """Against the plain step."""
    plain = search.plain
    return Prediction(
        target=search.target.name,
        budget_bytes=budget,
        peak_bytes=found.peak,
        peak_phase=found.phase,
        peak_module=found.module,
        margin=MARGIN,
        reserved_bytes=int(found.peak * (1 + MARGIN)),
        host_bytes=found.host,
        plain_peak_bytes=plain.peak,
        flops=found.flops,
        plain_flops=plain.flops,
        step_seconds=found.seconds,
        plain_seconds=plain.seconds,
        actions=_actions(search, found),
    )


def _actions(search: Search, found: Found) -> tuple[Action, ...]:
    """Each choice, against the same state without it.

    Stacks one by one; what is sliced and forms of attention are left out together, and what that
    comes to is shared among them by what each frees and takes in a plain pass.
    """
    groups, state = search.space.groups, found.state
    actions: dict[int, Action] = {}
    chosen = {
        i: group
        for i, group in enumerate(groups)
        if isinstance(group, (AttendGroup, SliceGroup)) and group.rules(state[i])
    }
    if chosen:
        without = search.look(
            tuple(None if i in chosen else choice for i, choice in enumerate(state))
        )
        frees = {i: search.freed(g, state) for i, g in chosen.items()}
        takes = {i: g.seconds * g.count for i, g in chosen.items()}
        for i, group in chosen.items():
            actions[i] = _action(
                group.rules(state[i])[0],
                (without.peak - found.peak) * frees[i] / max(sum(frees.values()), 1),
                (found.flops - without.flops) * takes[i] / max(sum(takes.values()), 1e-30),
            )
    for i, (group, choice) in enumerate(zip(groups, state, strict=True)):
        if isinstance(group, StackGroup) and group.rules(choice):
            without = search.look((*state[:i], None, *state[i + 1 :]))
            actions[i] = _action(
                group.rules(choice)[0], without.peak - found.peak, found.flops - without.flops
            )
        elif isinstance(group, RecipeGroup) and choice is not None:
            without = search.look((*state[:i], None, *state[i + 1 :]))
            actions[i] = Action(
                where=group.where,
                what=f"recipe {choice}",
                tier=group.tier,
                saved_bytes=without.peak - found.peak,
                added_flops=found.flops - without.flops,
            )
    return tuple(actions[i] for i in sorted(actions))


def _action(rule: Rule, saved_bytes: int | float, added_flops: int | float) -> Action:
    return Action(
        where=rule.where,
        what=in_words(rule.use),
        tier=_tier(rule.use),
        saved_bytes=int(saved_bytes),
        added_flops=int(added_flops),
    )


def _tier(use: Any) -> Tier:
    if isinstance(getattr(use, "keep", None), Coded):
        return "lossy"
    return "rounding" if use == attend("auto") else "exact"
