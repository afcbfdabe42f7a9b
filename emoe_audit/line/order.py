"""Who is next: what a person waits for, then one audit at a time, the tightest first.

How tight an audit is says the latest moment at which it may begin. One without a deadline may begin a day after it
came, so that none waits for ever behind others. An audit that works goes on, but for one that would be late if it
waited and in time if it entered, where that does not make the first one late: the rule of eMoE's scheduler (arXiv
2503.06823), there for requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from emoe_audit.line.tickets import Ticket

DAY = 24 * 3600.0
"""After which an audit without a deadline is as tight as one that has to begin at once."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """When somebody is expected to work, in seconds since 1970; None where that is not known."""

    name: str
    start: float | None
    end: float | None


def first(line: Mapping[str, Ticket], now: float) -> str | None:
    """The name of the ticket whose turn it is; None where nobody stands in line."""
    tries = [name for name, ticket in line.items() if ticket.kind == "try"]
    if tries:
        return min(tries)
    begun = _tightest({name: own for name, own in line.items() if own.state == "works"}) or _tightest(
        {name: own for name, own in line.items() if own.state == "paused"}
    )
    if begun is None:
        return _tightest(line)
    entering = {name: own for name, own in line.items() if name != begun and _enters(own, line[begun], now)}
    return _tightest(entering) or begun


def expected(line: Mapping[str, Ticket], now: float) -> list[Expected]:
    """When each is expected to work, in the order in which they will."""
    left, moment, found = dict(line), now, list[Expected]()
    known = True
    while left:
        name = first(left, moment)
        assert name is not None
        ticket = left.pop(name)
        start = moment if known else None
        known = known and ticket.seconds is not None
        moment += ticket.seconds or 0.0
        found.append(Expected(name=name, start=start, end=moment if known else None))
    return found


def _tightest(line: Mapping[str, Ticket]) -> str | None:
    return min(line, key=lambda name: (_latest_start(line[name]), name), default=None)


def _latest_start(ticket: Ticket) -> float:
    return ticket.joined + DAY if ticket.deadline is None else ticket.deadline - (ticket.seconds or 0.0)


def _enters(ticket: Ticket, working: Ticket, now: float) -> bool:
    """Whether it comes in before one that works."""
    if ticket.deadline is None or ticket.seconds is None or working.seconds is None:
        return False
    is_late_after = now + working.seconds + ticket.seconds > ticket.deadline
    is_in_time_now = now + ticket.seconds <= ticket.deadline
    is_no_harm = now + ticket.seconds <= _latest_start(working)
    return is_late_after and is_in_time_now and is_no_harm
