"""Reads a scenario's `audit`: what the data-loss audit writes where, and what it may find."""

from __future__ import annotations

from collections.abc import Iterator

from harness.plan.model import Audit, AuditRule, Better, Count, Rule, Tier, Unit
from harness.plan.nodes import At
from harness.plan.rules import RuleError, order_problems, rule_of
from harness.plan.service import ServiceFile, url_of

AUDIT_KEYS = (("thresholds",), ("url", "rate", "writers"))
AUDIT_THRESHOLD_KEYS = (("count",), ("target", "warn", "fail"))

RATE_PER_S = 20.0
WRITERS = 4
RATE_MAX_PER_S = 1000.0  # one process writes and reads them all


def audit_of(at: At, service: ServiceFile | None) -> Audit | None:
    """The audit that a scenario asks for; None, recorded, when it is wrong. Without a service, its URL is not known."""
    fields = at.fields(*AUDIT_KEYS)
    if fields is None:
        return None
    url_at = fields.get("url")
    url = url_of(url_at) if url_at else _url_of_service(at, service)
    rate_per_s, writers = fields.positive("rate", "/s", RATE_PER_S), fields.whole("writers", WRITERS, least=1)
    if rate_per_s is not None and rate_per_s > RATE_MAX_PER_S:
        fields.values["rate"].wrong(f"is more than the audit can write; at most {RATE_MAX_PER_S:g}/s")
    rules = tuple(rule for item in fields.items("thresholds") for rule in _rules(item))
    if fields.items("thresholds") and rules and all(rule.tier is Tier.TARGET for rule in rules):
        fields.values["thresholds"].wrong("targets only inform, so the audit would decide nothing; give a warn or fail")
    if "thresholds" in fields.values and not fields.items("thresholds"):
        fields.values["thresholds"].wrong('is empty; give at least {count: lost, fail: "> 0"}')
    if url is None or not rate_per_s or writers is None:
        return None
    return Audit(url=url, rate_per_s=rate_per_s, writers=writers, rules=rules, source=at.source)


def _url_of_service(at: At, service: ServiceFile | None) -> str | None:
    if service is None or service.service is None:
        return None  # said already, or not known
    if service.service.audit_url is None:
        at.wrong(
            f"'url' is missing, and the service '{service.name}' has no 'audit_url'; "
            "give one of them, or use a service with 'sandbox: store'"
        )
    return service.service.audit_url


def _rules(at: At) -> Iterator[AuditRule]:
    fields = at.fields(*AUDIT_THRESHOLD_KEYS)
    count = fields.choice("count", tuple(Count)) if fields else None
    if fields is None or count is None:
        return
    written = {tier: fields.values[tier] for tier in Tier if tier in fields.values}
    if not written:
        at.wrong("no rule; give at least one of target, warn and fail")
    read: dict[Tier, tuple[At, Rule]] = {}
    for tier, rule_at in written.items():
        rule = _rule(rule_at, tier)
        if rule is not None:
            read[tier] = rule_at, rule
            yield AuditRule(count=Count(count), tier=tier, rule=rule, source=rule_at.source)
    for wrong_at, what in order_problems(read, Better.LOWER):
        wrong_at.wrong(what)


def _rule(at: At, tier: Tier) -> Rule | None:
    text = at.text()
    if text is None:
        return None
    try:
        rule = rule_of(text, unit=Unit.COUNT, better=Better.LOWER, tier=tier)
    except RuleError as error:
        at.wrong(str(error))
        return None
    if rule.relative_to or rule.for_s or rule.any_s:
        at.wrong(f"'{rule.text}' on a count of the audit can have no 'of', 'for' or 'in any'; write e.g. \"> 0\"")
        return None
    return rule
