"""The grammar of rules (see `harness.plan.model.Rule`), and the order of tiers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, cast

from harness import units
from harness.plan.model import Better, Rule, Tier, Unit
from harness.plan.nodes import At, quoted

_RULE = re.compile(
    r"(?P<op><=|>=|<|>)\s*(?P<quantity>\S.*?)"
    r"(?:\s+of\s+(?P<of>\S+))?(?:\s+floor\s+(?P<floor>\S+))?(?:\s+cap\s+(?P<cap>\S+))?"
    r"(?:\s+for\s+(?P<for>\S+))?(?:\s+in\s+any\s+(?P<any>\S+))?\s*"
)
_WORD = re.compile(r"\s(of|floor|cap|for|in)\s")  # out of its order
_GRAMMAR = (
    "a rule is OP QUANTITY [of offered | of baseline [floor QUANTITY] [cap QUANTITY]] "
    '[for DURATION | in any DURATION], e.g. "> 1% for 15s"'
)


class RuleError(ValueError):
    """The text is not a rule; the message says why."""


def rule_of(text: str, *, unit: Unit, better: Better, tier: Tier) -> Rule:
    """
    The rule that the text stands for, on an SLI of this unit and direction.

    A `target` says what is wanted, the other tiers what is a breach: for an SLI that is better lower, `<` and `>`
    respectively. `of ...` makes the quantity a percentage; floor and cap stay in the SLI's unit. Raises RuleError.
    """
    match = _RULE.fullmatch(text.strip())
    if not match or _WORD.search(match["quantity"]):
        raise RuleError(f"{quoted(text)} is not a rule; {_GRAMMAR}")
    wants_less = (better is Better.LOWER) == (tier is Tier.TARGET)
    if (match["op"] in {"<", "<="}) != wants_less:
        says = "what is wanted" if tier is Tier.TARGET else "a breach"
        raise RuleError(
            f"{quoted(text)} points the wrong way: {better} is better, and '{tier}' says {says}; "
            f"begin it with {'<' if wants_less else '>'}"
        )
    if match["of"] not in {None, "offered", "baseline"}:
        raise RuleError(f"unknown 'of {match['of']}' in {quoted(text)}; use 'of offered' or 'of baseline'")
    if match["of"] == "offered" and unit is not Unit.PER_SECOND:
        raise RuleError(f"{quoted(text)} compares with the offered rate, but the SLI's unit is '{unit}', not '/s'")
    if (match["floor"] or match["cap"]) and match["of"] != "baseline":
        raise RuleError(f"{quoted(text)} has a floor or a cap, which only a rule 'of baseline' can have; remove it")
    if match["for"] and match["any"]:
        raise RuleError(f"{quoted(text)} says both 'for' and 'in any'; keep one")
    try:
        return Rule(
            text=text.strip(),
            op=cast("Literal['<', '<=', '>', '>=']", match["op"]),
            quantity=units.quantity(match["quantity"], Unit.RATIO if match["of"] else unit),
            relative_to=cast("Literal['offered', 'baseline'] | None", match["of"]),
            for_s=_stretch(match, "for"),
            any_s=_stretch(match, "any"),
            floor=units.quantity(match["floor"], unit) if match["floor"] else None,
            cap=units.quantity(match["cap"], unit) if match["cap"] else None,
        )
    except units.UnitError as error:
        raise RuleError(f"{error} (in {quoted(text)})") from None


def _stretch(match: re.Match[str], key: str) -> float | None:
    """The length of a `for` or an `in any`, in seconds."""
    length_s = units.seconds(match[key]) if match[key] else None
    if length_s == 0:
        word = {"for": "for", "any": "in any"}[key]
        raise RuleError(f"{quoted(match[0])} must last longer than '{match[key]}'; remove the '{word}'")
    return length_s


def order_problems(tiers: dict[Tier, tuple[At, Rule]], better: Better) -> Iterator[tuple[At, str]]:
    """
    Tiers that a worsening SLI would breach before a milder one: warn comes before fail, fail before abort.

    Of two breaches one is easier when its limit is met no later and it need last no longer. Rules that are
    not comparable (relative to different things, or stricter in one way and laxer in the other) are left alone.
    A target must not lie beyond a breach.
    """
    for mild, grave in ((Tier.WARN, Tier.FAIL), (Tier.FAIL, Tier.ABORT), (Tier.WARN, Tier.ABORT)):
        if mild in tiers and grave in tiers and _easier(tiers[grave][1], tiers[mild][1], better):
            at, rule = tiers[grave]
            yield at, f"'{rule.text}' is breached before {mild} '{tiers[mild][1].text}'; swap them or move the limit"
    if Tier.TARGET not in tiers:
        return
    at, target = tiers[Tier.TARGET]
    for tier in (Tier.WARN, Tier.FAIL, Tier.ABORT):
        if tier in tiers:
            breach = tiers[tier][1]
            if breach.relative_to == target.relative_to and _worse(target.quantity, breach.quantity, better):
                yield (
                    at,
                    f"target '{target.text}' lies beyond {tier} '{breach.text}'; move one of them",
                )
            return


def _easier(grave: Rule, mild: Rule, better: Better) -> bool:
    limits, lengths = (grave.quantity, mild.quantity), (grave.for_s or 0.0, mild.for_s or 0.0)
    if _sort(grave) != _sort(mild) or (limits[0] == limits[1] and lengths[0] == lengths[1]):
        return False
    return not _worse(*limits, better) and lengths[0] <= lengths[1]


def _sort(rule: Rule) -> tuple[object, ...]:
    """What two rules must share for their limits and lengths to be comparable."""
    return rule.relative_to, rule.any_s, rule.floor, rule.cap


def _worse(left: float, right: float, better: Better) -> bool:
    return left > right if better is Better.LOWER else left < right
