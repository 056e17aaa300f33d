"""How the house stands: rooms, circles, arrows that run back up, and the map of docs/architecture.md.

python -m benchmarks.house [ROOT]     the figures, of this checkout or of another one
python -m benchmarks.house --write    the map anew, from what each module says of itself
"""

import argparse
import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parents[1]
_WHEEL = tomllib.loads((HERE / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
PACKAGES: list[str] = _WHEEL["packages"]
LONG_FILE = 300
MAP = "docs/architecture.md"
MAP_START, MAP_END = "<!-- map: python -m benchmarks.house --write -->", "<!-- end of the map -->"
FACTS_OF_A_SPEECH = ("queue_seconds", "load_seconds", "first_audio_seconds", "audio_seconds", "output_tokens")
"""A module that gives three of them a value, as a field, a keyword or a key, writes the facts of a speech out."""


class House:
    """The modules of a checkout and what they import of each other; nothing of it is run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = {
            self._name(file, package): file
            for package in map(Path, PACKAGES)
            for file in sorted((root / package).rglob("*.py"))
        }
        self.trees = {name: ast.parse(file.read_text(encoding="utf-8")) for name, file in self.files.items()}
        self.imports = {name: set(self._imported(name)) for name in self.files}

    def _name(self, file: Path, package: Path) -> str:
        parts = file.relative_to(self.root / package.parent).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def _imported(self, name: str) -> Iterator[str]:
        for node in ast.walk(self.trees[name]):
            if isinstance(node, ast.Import):
                found = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                found = [f"{node.module}.{alias.name}" for alias in node.names] + [node.module]
            else:
                continue
            # Of a package and its module it is the module that is meant.
            known = [module for module in found if module in self.files and module != name]
            yield from (known[:-1] if len(known) > 1 else known)

    def circles(self) -> list[set[str]]:
        """Sets of modules each of which reaches all others of its set."""
        reach = {name: self._reached(name) for name in self.files}
        found = {frozenset({name, *(o for o in reach[name] if name in reach[o])}) for name in self.files}
        return sorted((set(circle) for circle in found if len(circle) > 1), key=sorted)

    def _reached(self, start: str) -> set[str]:
        reached: set[str] = set()
        ahead = [start]
        while ahead:
            new = self.imports[ahead.pop()] - reached
            reached |= new
            ahead.extend(new)
        return reached

    def upward(self) -> list[str]:
        """Imports from a lower layer to a higher one, by the layers of this checkout's pyproject.toml."""
        contracts = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
            "importlinter"
        ]
        (layers,) = [c["layers"] for c in contracts["contracts"] if c.get("exhaustive")]
        height = {
            f"orpheus_openai.{room.strip()}": -number
            for number, layer in enumerate(layers)
            for room in layer.split("|")
        }

        def of(module: str) -> int | None:
            return height.get(".".join(module.split(".")[:2]))

        return [
            f"{name} -> {other}"
            for name, others in self.imports.items()
            for other in sorted(others)
            if (low := of(name)) is not None and (high := of(other)) is not None and low < high
        ]

    def shelf(self) -> list[str]:
        """The modules that stand in no room of orpheus_openai."""
        return [
            file.name for file in sorted((self.root / "orpheus_openai").glob("*.py")) if file.stem[0] != "_"
        ]

    def unmapped(self) -> list[str]:
        """The modules that docs/architecture.md does not name."""
        text = (self.root / MAP).read_text(encoding="utf-8")
        words = set(re.findall(r"[\w/]+", text.replace(".py", "")))
        return [
            name for name, file in self.files.items() if file.name != "__init__.py" and file.stem not in words
        ]

    def tellers(self) -> list[str]:
        """The modules that write the facts of a speech out; those that read them of the report are views of it."""
        facts = set(FACTS_OF_A_SPEECH)
        return [name for name, tree in self.trees.items() if len(_written(tree) & facts) > 2]

    def namesakes(self) -> list[str]:
        """The names of classes, `_` before them or not, and of public functions that stand in two modules.

        A function that is decorated has its name for whoever the decorator hands it to, such as a route.
        """
        modules: dict[str, set[str]] = {}
        for module, tree in self.trees.items():
            classes = [node.name.lstrip("_") for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
            functions = [
                node.name
                for node in tree.body
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.decorator_list
            ]
            for name in classes + [name for name in functions if name[0] != "_"]:
                modules.setdefault(name, set()).add(module)
        return sorted(name for name, found in modules.items() if len(found) > 1)

    def long(self) -> list[str]:
        """The files over 300 lines."""
        lines = {
            name: len(file.read_text(encoding="utf-8").splitlines()) for name, file in self.files.items()
        }
        return [f"{name} ({count})" for name, count in lines.items() if count > LONG_FILE]

    def map(self) -> str:
        """Each room and each module with its own first sentence, as Markdown."""
        lines: list[str] = []
        for name, file in self.files.items():
            place = file.relative_to(self.root)
            if file.name == "__init__.py":
                rows = [
                    other
                    for other, beside in self.files.items()
                    if beside.parent == file.parent and beside != file
                ]
                lines += ["", f"### `{place.parent}/`", "", _sentence(self.trees[name]), ""]
                if rows:
                    lines += ["| Module | What it is for |", "| --- | --- |"]
                    lines += [
                        f"| `{self.files[other].stem}` | {_sentence(self.trees[other])} |" for other in rows
                    ]
        return "\n".join(lines).strip()


def _written(tree: ast.AST) -> set[str]:
    """The names that are given a value: fields of classes, keywords of calls, keys of tables."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
        elif isinstance(node, ast.keyword) and node.arg:
            found.add(node.arg)
        elif isinstance(node, ast.Dict):
            found |= {str(key.value) for key in node.keys if isinstance(key, ast.Constant)}
    return found


def _sentence(tree: ast.Module) -> str:
    """The first paragraph of a module's docstring."""
    words = ast.get_docstring(tree) or ""
    return " ".join(words.split("\n\n")[0].split()).replace("|", "\\|")


def mapped(text: str, house: House) -> str:
    """The page with the map as it should be."""
    before, rest = text.split(MAP_START)
    return f"{before}{MAP_START}\n\n{house.map()}\n\n{MAP_END}{rest.split(MAP_END)[1]}"


def main() -> None:
    """Print the figures, or write the map."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("root", nargs="?", type=Path, default=HERE)
    parser.add_argument("--write", action="store_true", help=f"write the map of {MAP} anew")
    options = parser.parse_args()
    house = House(options.root)
    if options.write:
        page = options.root / MAP
        page.write_text(mapped(page.read_text(encoding="utf-8"), house), encoding="utf-8")
        return
    for what, found in {
        "modules on no shelf but the top": house.shelf(),
        "import circles": [" <-> ".join(sorted(circle)) for circle in house.circles()],
        "arrows that run back up": house.upward(),
        "modules missing from the map": house.unmapped(),
        "modules that write a speech's facts": house.tellers(),
        "names that stand in two modules": house.namesakes(),
        f"files over {LONG_FILE} lines": house.long(),
    }.items():
        print(f"{len(found):3}  {what}{': ' if found else ''}{', '.join(found)}")


if __name__ == "__main__":
    main()
