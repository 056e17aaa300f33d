"""Letters that eSpeak NG has no sound for, in any language."""

import re
from typing import Final

_RANGES: Final = """
2bb 86b-88f 8b5 8be-8c9 c5c cdc e85-e86 e89 e8b-e8c e8e-e93 e98 ea0 ea8-ea9 eac eaf 139a-13ef 170d 1716-171f
1b4c-1b4f 1c89-1c8f 1cfa-1cff 2c2f 2c5f a717-a77c a77e-a78c a78e-a7a9 a7af a7b3-abe2 d7a4-d7ff 10570-105ff
1077f-107ff 10940-1097f 10d3a-10e5f 10e7f-10eff 10f5a-10fff 11071-1107e 11147-1114f 1123f-1127f 11375-113ff
1145f-1147f 116b8 11740-117ff 11900-119e3 11a84-11a85 11aa3-11abf 11af9-11bff 11daa-11edf 11ef9-11fbf 12544-12ff0
1342f 13439-143ff 14647-167ff 16a70-16abf 16b90-16e3f 16e9b-16eff 16f45-16f4e 16fe3 187f2-187ff 18af3-1afff
1b11f-1b16f 1dab0-1e7ff 1e94b 2a6d7-2a6ff 2b735-2b73f 2ebe1-2f7ff 2fa1e-3ffff
"""
"""Of code points, ends included. Found by asking eSpeak NG 1.52 for the phonemes of each letter of Unicode 16 in all
languages of the catalog, which agree; with gaps beside them that later versions of Unicode may fill."""


def _between(ends: str) -> str:
    first, _, last = ends.partition("-")
    return f"{chr(int(first, 16))}-{chr(int(last or first, 16))}"


SOUNDLESS: Final = re.compile(f"[{''.join(map(_between, _RANGES.split()))}]+")
