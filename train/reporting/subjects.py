"""Words for the subject of a result: a policy's multiplier, a user's rule, or weights from a file."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Subject(NamedTuple):
    """A subject of a verdict in the words of sentences on it."""

    noun: str
    learned: str  # the same where a page introduces it
    beside: str  # the position that it has to beat
    plural: bool = False

    def does(self, verb: str) -> str:
        """The noun with a verb that takes an s after a singular: `the rule adds`, `the weights add`."""
        return f"{self.noun} {verb}" if self.plural else f"{self.noun} {verb}s"


SUBJECTS = {  # by `kind` of result.json; a result without one is of a policy
    "policy": Subject("the multiplier", "the learned multiplier", "the position that it multiplies"),
    "rule": Subject("the rule", "the rule", "the base position"),
    "weights": Subject("the weights", "the weights", "the base position", plural=True),
}
POLICY = SUBJECTS["policy"]


def subject_of(result: Mapping[str, Any]) -> Subject:
    """Returns the words for the subject of a result, as result.json holds it."""
    return SUBJECTS[result.get("kind", "policy")]
