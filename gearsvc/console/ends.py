"""
What became of a job that is over, in the form in which
L{gearsvc.core.explain} says why one does not run.
"""

from __future__ import annotations

from gearsvc.console.history import Ended
from gearsvc.core.explain import Explanation, Fact, span, text

REASONS = {
    "fail": "its worker said that it failed",
    "exception": "its worker sent an exception",
    "attempts": "too many workers were lost over it, or took too long",
    "store": "it could not be stored",
    "cancel": "somebody cancelled it",
    "drop": "its function was dropped",
    "abandoned": "the last client who waited for it has gone",
}
"""
Why jobs end without a result.
"""

SAID = {"completed": "it completed", "failed": "it failed", "cancelled": "it was cancelled"}
"""
How jobs end.
"""


def explain_ended(ended: Ended, now: float) -> Explanation:
    """
    What became of a job; the cause is its last state.
    """
    facts: dict[str, Fact] = {
        "handle": text(ended.handle),
        "function": text(ended.function),
        "attempts": ended.attempts,
        "submitted": ended.submitted,
        "ended": ended.ended,
    }
    sentence = f"It is over: {SAID[ended.state]} {span(now - ended.ended)} ago"
    if ended.worker is not None:
        number, client_id, host = ended.worker
        worker = f"{host}#{number}" + ("" if client_id == b"-" else f" ({text(client_id)})")
        facts["worker"], facts["started"] = worker, ended.started
        sentence += f", after the worker {worker} had had it for {span(ended.ended - ended.started)}"
    if ended.reason:
        facts["reason"] = ended.reason
        sentence += f": {REASONS.get(ended.reason, ended.reason)}"
    return Explanation(ended.state, f"{sentence}.", facts)
