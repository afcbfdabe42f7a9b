"""A gate: a run against a policy. Three verdicts, because "no gap was seen" is not "there is none".

A rule bounds the mean of a measure in every group, or the group's gap to the mean over all prompts. It is kept where
the whole interval lies within the bound, broken where the whole interval lies beyond it, and undecided else. Intervals
are simultaneous: `alpha` is shared out over all groups of all rules (Bonferroni), so that the chance of a single wrong
verdict in the whole policy is at most `alpha`, as far as the cluster bootstrap keeps its level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from emoe_audit.analysis.groups import group_estimates
from emoe_audit.decisions.evidence import Standing
from emoe_audit.errors import AuditError
from emoe_audit.readers.documents import read_yaml
from emoe_audit.readers.typed import typed
from emoe_audit.runs.store import RunStore

Verdict = Literal["pass", "fail", "inconclusive"]
WORST_FIRST: tuple[Verdict, ...] = ("fail", "inconclusive", "pass")
Figure = Literal["mean", "gap"]
RULE_KEYS = {"by", "measure", "figure", "at_least", "at_most", "groups"}
POLICY_KEYS = {"alpha", "min_sources", "rules"}
LEAST_CODE = 100
"""Below it, a number may be a code that has lost a zero."""
N_BOOT = 10_000
"""Enough for the ends of intervals of 99.9 %."""


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
    """Captions without which a group stays undecided."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One group under one rule."""

    rule: Rule
    group: str
    n_sources: int
    value: float
    low: float
    high: float
    verdict: Verdict


def judge_run(store: RunStore, policy: Policy, *, seed: int = 0) -> list[Finding]:
    """Every group under every rule. Raises `AuditError` for a column that the run does not have."""
    results = store.query("SELECT * FROM results")
    tables = [_groups_of(results, rule, store) for rule in policy.rules]
    confidence = 1 - 2 * policy.alpha / max(1, sum(map(len, tables)))
    findings = []
    for rule, groups in zip(policy.rules, tables, strict=True):
        table = group_estimates(results, rule.by, rule.measure, n_boot=N_BOOT, seed=seed, confidence=confidence)
        rows = table.set_index("group").reindex(groups)
        findings += [_finding(rule, str(group), row, policy.min_sources) for group, row in rows.iterrows()]
    return findings


def overall(findings: Sequence[Finding]) -> Verdict:
    """The worst verdict; a policy that finds no group is undecided."""
    verdicts = {finding.verdict for finding in findings}
    return next((verdict for verdict in WORST_FIRST if verdict in verdicts), "inconclusive")


def to_json(findings: Sequence[Finding], standing: Standing) -> dict[str, Any]:
    """The verdict and what it rests on, and what the ranking score rests on; what is undefined is None."""
    rows = [asdict(finding) for finding in findings]
    for row in rows:
        row |= {key: None for key in ("value", "low", "high") if row[key] != row[key]}
    ranking = {"rung": standing.rung, "word": standing.word, "sentence": standing.sentence}
    return {"verdict": overall(findings), "ranking": ranking, "findings": rows}


def to_text(findings: Sequence[Finding], standing: Standing) -> str:
    """A line for every group that is not kept, worst first, the count of the others, and what the ranking rests on."""
    kept = sum(finding.verdict == "pass" for finding in findings)
    others = sorted((f for f in findings if f.verdict != "pass"), key=lambda f: WORST_FIRST.index(f.verdict))
    lines = [
        f"{f.verdict}: {f.rule.figure} of {f.rule.measure} in {f.rule.by} {f.group}: {f.value:.3g} "
        f"({f.low:.3g} to {f.high:.3g}, {f.n_sources} captions), {_bound(f.rule)}"
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
    if not 0 < policy.alpha < 1:
        raise AuditError(f"{path}: alpha is {policy.alpha:g}, expected a number between 0 and 1")
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
    names = ("mean", "low", "high") if rule.figure == "mean" else ("gap", "gap_low", "gap_high")
    value, low, high = (float(row[name]) for name in names)
    n_sources = 0 if pd.isna(row["n_sources"]) else int(row["n_sources"])
    verdict: Verdict = "inconclusive"
    if n_sources >= min_sources:
        verdict = _verdict(rule, low, high)
    return Finding(rule=rule, group=group, n_sources=n_sources, value=value, low=low, high=high, verdict=verdict)


def _verdict(rule: Rule, low: float, high: float) -> Verdict:
    least = -float("inf") if rule.at_least is None else rule.at_least
    most = float("inf") if rule.at_most is None else rule.at_most
    if high < least or low > most:
        return "fail"
    return "pass" if low >= least and high <= most else "inconclusive"


def _bound(rule: Rule) -> str:
    ends = [("at least", rule.at_least), ("at most", rule.at_most)]
    return " and ".join(f"{words} {bound:g}" for words, bound in ends if bound is not None)
