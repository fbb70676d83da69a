"""onnxsim: constant folding, identities and shape arithmetic by a tool that others maintain.

Weights are inputs of the open graph, so it can't fold, fuse or rename them; where it loses one all the same, or
fails, the graph stays as it was, with the reason. Program: unchanged.
"""

from __future__ import annotations

from colora.export.draft import Draft, Outcome, Refusal
from colora.export.graph import simplify


def run(draft: Draft) -> Outcome:
    before = draft.proto()
    after, reason = simplify(before, draft.shapes)
    if reason:
        return Outcome(0, (Refusal("the graph", reason),))
    draft.load(after)
    return Outcome(int(after.graph != before.graph))
