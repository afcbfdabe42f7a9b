"""A gate: a run against a policy. Three verdicts, because "no gap was seen" is not "there is none".

A rule bounds the mean of a measure in every group, or the group's gap to the mean over all prompts. It is kept where
the whole interval lies within the bound, broken where the whole interval lies beyond it, and undecided else. Intervals
are simultaneous: `alpha` is shared out over all bounds of all groups (Bonferroni), so that the chance of a single wrong
verdict in the whole policy is at most `alpha`. Intervals that hold so far out in the tail need captions, the more of
them the more groups there are and the more skewed the measure is (`analysis/skewed_mean.py`); with fewer a group is
undecided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import inf, isfinite
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from emoe_audit.analysis.group_bounds import Figure, group_bounds
from emoe_audit.decisions.evidence import Standing
from emoe_audit.decisions.judged import read_judge, withheld
from emoe_audit.errors import AuditError
from emoe_audit.readers.documents import read_yaml
from emoe_audit.readers.typed import typed
from emoe_audit.runs.store import RunStore

Verdict = Literal["pass", "fail", "inconclusive"]
WORST_FIRST: tuple[Verdict, ...] = ("fail", "inconclusive", "pass")
RULE_KEYS = {"by", "measure", "figure", "at_least", "at_most", "groups"}
POLICY_KEYS = {"alpha", "min_sources", "rules"}
LEAST_CODE = 100
"""Below it, a number may be a code that has lost a zero."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A bound on one figure of every group."""

    by: str
    """The group column."""
    measure: str
    """A score, a quality, or any other column of numbers."""
    figure: Figure = "mean"
    """`mean`, or `gap`: the group's mean minus the mean over all prompts."""
    at_least: float | None = None
    """The lower bound, in units of the measure."""
    at_most: float | None = None
    """The upper bound."""
    groups: tuple[str, ...] | None = None
    """None: every group of the run."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What a run has to keep."""

    rules: tuple[Rule, ...]
    """At least one."""
    alpha: float = 0.05
    """The chance of a single wrong verdict in the whole policy is at most this."""
    min_sources: int = 10
    """Captions without which a group stays undecided; with many groups, more are needed in any case."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One group under one rule."""

    rule: Rule
    group: str
    n_sources: int
    """Captions with a value."""
    needed_sources: int | None
    """Captions from which on both ends are known, as far as those at hand can say; None where they cannot."""
    value: float
    low: float
    """Minus infinity where there are too few captions."""
    high: float
    verdict: Verdict
    reason: str = ""
    """Why nothing is known of the group, where it is not for its captions: its judge does not read it."""


def judge_run(store: RunStore, policy: Policy) -> list[Finding]:
    """Every group under every rule. Raises `AuditError` for a column that the run does not have."""
    results = store.query("SELECT * FROM results")
    tables = [_groups_of(results, rule, store) for rule in policy.rules]
    n_bounds = sum(len(groups) * len(_bounds(rule)) for rule, groups in zip(policy.rules, tables, strict=True))
    tail = policy.alpha / max(1, n_bounds)
    findings, judge = [], read_judge(store)
    for rule, groups in zip(policy.rules, tables, strict=True):
        rows = group_bounds(results, rule.by, rule.measure, rule.figure, tail=tail).set_index("group").reindex(groups)
        reasons = withheld(rule.measure, judge) if rule.by == "language" else {}
        found = [_finding(rule, str(group), row, policy.min_sources) for group, row in rows.iterrows()]
        findings += [replace(own, reason=reasons.get(own.group, "")) for own in found]
    return findings


def overall(findings: Sequence[Finding]) -> Verdict:
    """The worst verdict; a policy that finds no group is undecided."""
    verdicts = {finding.verdict for finding in findings}
    return next((verdict for verdict in WORST_FIRST if verdict in verdicts), "inconclusive")


def to_json(findings: Sequence[Finding], standing: Standing) -> dict[str, Any]:
    """The verdict and what it rests on, and what the ranking score rests on; what is unknown is None."""
    rows = [asdict(finding) for finding in findings]
    for row in rows:
        row |= {key: None for key in ("value", "low", "high") if not isfinite(row[key])}
    ranking = {"rung": standing.rung, "word": standing.word, "sentence": standing.sentence}
    return {"verdict": overall(findings), "ranking": ranking, "findings": rows}


def to_text(findings: Sequence[Finding], standing: Standing) -> str:
    """A line for every group that is not kept, worst first, the count of the others, and what the ranking rests on."""
    kept = sum(finding.verdict == "pass" for finding in findings)
    others = sorted((f for f in findings if f.verdict != "pass"), key=lambda f: WORST_FIRST.index(f.verdict))
    lines = [
        f"{f.verdict}: {f.rule.figure} of {f.rule.measure} in {f.rule.by} {f.group}: {f.value:.3g} "
        f"({_interval(f)}), {' and '.join(f'{words} {bound:g}' for words, bound in _bounds(f.rule).items())}"
        for f in others
    ]
    lines += [f"{kept} of {len(findings)} groups keep their bounds", f"ranking: {standing.word}. {standing.sentence}"]
    return "\n".join([*lines, f"verdict: {overall(findings)}"])


def read_policy(path: Path) -> Policy:
    """A policy from YAML. Raises `AuditError` with the file, the rule and the key that is wrong."""
    data = read_yaml(path, AuditError)
    if not isinstance(data, dict) or not isinstance(data.get("rules"), list) or not data["rules"]:
        raise AuditError(f"{path}: expected a mapping with a list of rules under `rules:`")
    _check_keys(data, POLICY_KEYS, str(path))
    policy = typed(data | {"rules": []}, Policy, str(path), AuditError)
    if not 0 < policy.alpha < 0.5:
        raise AuditError(f"{path}: alpha is {policy.alpha:g}, expected a number between 0 and 0.5")
    if policy.min_sources < 2:
        raise AuditError(f"{path}: min_sources is {policy.min_sources!r}, expected a whole number of at least 2")
    rules = tuple(_rule(entry, f"{path}: rule {number}") for number, entry in enumerate(data["rules"], start=1))
    return replace(policy, rules=rules)


def _rule(entry: object, where: str) -> Rule:
    if not isinstance(entry, dict):
        raise AuditError(f"{where}: expected a mapping with the keys {', '.join(sorted(RULE_KEYS))}")
    _check_keys(entry, RULE_KEYS, where)
    if isinstance(entry.get("groups"), list):
        entry = entry | {"groups": [_code(group, where) for group in entry["groups"]]}
    rule = typed(entry, Rule, where, AuditError)
    if rule.at_least is None and rule.at_most is None:
        raise AuditError(f"{where}: needs a number under `at_least` or `at_most`")
    if rule.groups == ():
        raise AuditError(f"{where}: `groups` is empty; leave it out for every group of the run")
    return rule


def _code(group: object, where: str) -> object:
    """A group that is a number, as a text; a code with a zero in front is another number in YAML."""
    if not isinstance(group, int) or isinstance(group, bool):
        return group
    if group < LEAST_CODE:
        raise AuditError(f"{where}: `groups` holds the number {group}; write a code in quotes, as '014'")
    return str(group)


def _check_keys(data: dict[Any, Any], known: set[str], where: str) -> None:
    unknown = [key for key in data if key not in known]
    if unknown:
        raise AuditError(f"{where}: unknown key {unknown[0]!r:.60}; known: {', '.join(sorted(known))}")


def _groups_of(results: pd.DataFrame, rule: Rule, store: RunStore) -> list[str]:
    for column in (rule.by, rule.measure):
        if column not in results:
            raise AuditError(f"{store.path}: has no column {column!r}; it has {', '.join(results.columns)}")
    return list(rule.groups or sorted(results[rule.by].dropna().astype(str).unique()))


def _finding(rule: Rule, group: str, row: pd.Series, min_sources: int) -> Finding:
    n_sources = 0 if pd.isna(row["n_sources"]) else int(row["n_sources"])
    low, high = (float(row["low"]), float(row["high"])) if n_sources >= min_sources else (-inf, inf)
    return Finding(
        rule=rule,
        group=group,
        n_sources=n_sources,
        needed_sources=max(min_sources, int(row["needed"])) if isfinite(row["needed"]) else None,
        value=float(row["value"]),
        low=low,
        high=high,
        verdict=_verdict(rule, low, high),
    )


def _verdict(rule: Rule, low: float, high: float) -> Verdict:
    least = -inf if rule.at_least is None else rule.at_least
    most = inf if rule.at_most is None else rule.at_most
    if high < least or low > most:
        return "fail"
    return "pass" if low >= least and high <= most else "inconclusive"


def _bounds(rule: Rule) -> dict[str, float]:
    ends = {"at least": rule.at_least, "at most": rule.at_most}
    return {words: bound for words, bound in ends.items() if bound is not None}


def _interval(finding: Finding) -> str:
    """Both ends and the captions; why there are none, or how many are needed, where an end is unknown."""
    known = isfinite(finding.low) or isfinite(finding.high)
    ends = f"{finding.low:.3g} to {finding.high:.3g}, " if known else ""
    captions = f"{ends}{finding.n_sources} captions"
    if finding.reason:
        return f"{captions}, {finding.reason}"
    if finding.needed_sources is None:
        return f"{captions} of one value" if finding.n_sources else captions
    return captions if finding.needed_sources <= finding.n_sources else f"{captions}, needs {finding.needed_sources}"
