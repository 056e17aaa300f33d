"""The documentation of the settings, made of their definition.

python -m orpheus_openai.settings.table > docs/configuration.md
"""

from collections.abc import Collection
from typing import Literal, get_args, get_origin

import msgspec

from orpheus_openai.settings.definition import Settings
from orpheus_openai.settings.reading import as_written, meta_of, type_of, variable_name

PAGE = """# Settings

<!-- Made by `python -m orpheus_openai.settings.table > docs/configuration.md`; change the definition, not this. -->

Every setting comes from the environment, else from a file `.env` in the folder in which the server starts (with
`start.sh`, beside it); [.env.example](../.env.example) is a start. A blank value counts as not set. A bad value stops
the start with one line that says which setting it is, what it holds and what would do; an unknown name that begins with
`ORPHEUS_` brings a warning.

{table}
Models, voices and aliases of your own go into a TOML file in the form of
[catalog.toml](../orpheus_openai/catalog.toml), named by `ORPHEUS_CATALOG`. A voice is spoken by the models of its
language; where only some know it, as with a fine-tune, its `models` names them.

`ORPHEUS_URL` and `ORPHEUS_API_KEY` are for the commands that ask a server, `orpheus-openai speak` and
`orpheus-openai mcp`: which one, and with which key. Without them it is the server on `PORT` of this machine.

## `.env`

```sh
# a comment
ORPHEUS_API_KEYS='phone:sk-9f3c'   # and another, after a space
export PORT=8900
```

One `NAME=value` a line, in UTF-8; the last of a name counts. Values may stand in single quotes, which take everything
as it is but a single quote, or in double quotes, in which `\\"` and `\\\\` stand for `"` and `\\`. A line that cannot
be read stops the start with its number, for half a list of keys must not pass for none.

Docker Compose reads the same file by rules of its own. By its documentation both agree on all of the above, but for
two things: in a container a variable of the environment counts even if it is blank, and a comment after an empty value
(`NAME= # …`) may become the value. Compose also reads what is refused here: variables (`$NAME`, `${{NAME}}`),
`NAME: value`, a bare `NAME`, values over several lines, and escapes such as `\\n`. `docker run --env-file` takes quotes
as part of the value: leave them out there.
"""

README = frozenset(
    {
        "port",
        "host",
        "model",
        "gpu_idle_timeout",
        "nvidia_visible_devices",
        "remote_url",
        "api_keys",
        "allowed_hosts",
    }
)
"""The settings that one needs, which the README shows."""


def settings_table(only: Collection[str] = ()) -> str:
    """All settings, or those whose fields are named, as Markdown."""
    lines = ["| Variable | Default | What it does |", "| --- | --- | --- |"]
    for field in msgspec.structs.fields(Settings):
        if only and field.name not in only:
            continue
        kind = type_of(field)
        choices = (
            f" One of {', '.join(f'`{each}`' for each in get_args(kind))}."
            if get_origin(kind) is Literal
            else ""
        )
        default = (
            "" if field.default in ("", None, (), msgspec.NODEFAULT) else f"`{as_written(field.default)}`"
        )
        lines.append(f"| `{variable_name(field.name)}` | {default} | {meta_of(field).description}{choices} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(PAGE.format(table=settings_table()), end="")  # noqa: T201  its whole purpose
