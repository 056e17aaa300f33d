"""What an entry of a setting must be, where its type does not say it. Each check gives the entry back as it is used."""

import ipaddress
import re
from collections.abc import Callable
from urllib.parse import urlsplit


def url(*schemes: str) -> Callable[[str], str]:
    """Make a check for URLs of these schemes; a slash at the end is dropped."""

    def check(text: str) -> str:
        try:
            parts = urlsplit(text)
            usable = bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        else:
            usable = usable or (parts.scheme == "unix" and bool(parts.path))
        if not usable or parts.scheme not in schemes or any(char.isspace() for char in text):
            raise ValueError(
                f"is not a URL that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}"
            )
        return text.rstrip("/")

    return check


def origin(text: str) -> str:
    """Where pages come from, `https://app.example.com`, or `*`."""
    if text == "*":
        return text
    found = url("http", "https")(text)
    parts = urlsplit(found)
    if found != f"{parts.scheme}://{parts.netloc}" or "@" in parts.netloc:
        raise ValueError("is more than a site: leave out everything before and after its name and port")
    return found.lower()


def network(text: str) -> str:
    """An address or a network of addresses, in the standard spelling."""
    try:
        found = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("is neither an IP address nor a network such as 10.0.0.0/8") from None
    return str(found) if "/" in text else str(found.network_address)


def host_pattern(text: str) -> str:
    """A host's name, `*.` and the end of names, or `*`."""
    if text != "*" and not re.fullmatch(r"(\*\.)?[\w-]+(\.[\w-]+)*\.?", text, re.ASCII):
        raise ValueError(
            "is not a host name; write it without scheme, port or path, and other scripts as xn--…"
        )
    return text.lower().removesuffix(".")
