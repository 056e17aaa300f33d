"""The path of a request as logs and traces may show it: a key that a client has put into its URL is left out."""

import re

from orpheus_openai.http.middleware.keys import KeyRing

LONGEST = 512
"""Characters of a path that are shown."""

HIDDEN = "[hidden]"

_SECRETS = re.compile(
    r"""(?ix)
      (?<![a-z0-9])(?:sk|pk|rk|xi|hf|ghp|gho|xoxb)[-_][\w-]{6,}               # as such services write them
    | (?P<name>(?:key|token|secret|password|auth)[=:]|bearer[\s:=/+]+)[^/;,&?\s]+
    | (?<![^/\s@])[^/\s@:]++:[^/\s@]++(?=@)                                   # user:password@host
    """
)


class Redaction:
    """Knows the server's own keys by their hashes, and those of others by how they look."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    def path(self, path: str) -> str:
        """At most LONGEST characters of `path`, without what is a key or looks like one."""
        cut = path[: 2 * LONGEST]
        if self._ring:
            cut = self._without_own(cut)
        shown = _SECRETS.sub(lambda found: (found["name"] or "") + HIDDEN, cut)
        return shown if len(shown) <= LONGEST else shown[:LONGEST] + "…"

    def _without_own(self, path: str) -> str:
        parts = re.split(r"([/;,&?\s])", path)  # every other one separates
        for at in range(0, len(parts), 2):
            for length in (5, 3, 1) if parts[at] else ():  # a key may have a slash or two of its own
                tried = "".join(parts[at : at + length])
                value = re.sub(r"^\w+[=:]", "", tried)
                if self._is_own(tried) or (value != tried and self._is_own(value)):
                    parts[at : at + length] = [HIDDEN, *[""] * (length - 1)]
                    break
        return "".join(parts)

    def _is_own(self, text: str) -> bool:
        return self._ring.owner(text.encode(errors="surrogateescape")) is not None
