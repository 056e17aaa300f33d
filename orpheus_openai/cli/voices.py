"""`orpheus-openai voices`."""

import argparse
import contextlib
import getpass
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from orpheus_openai.audio import PCM
from orpheus_openai.catalog import Catalog, OwnVoice, load_catalog
from orpheus_openai.catalog.base import CONFIG
from orpheus_openai.cli.terminal import print_columns, say
from orpheus_openai.errors import InvalidRequestError, ModelUnavailableError, NotReadyError
from orpheus_openai.settings import Settings, load_settings
from orpheus_openai.voices import VoiceFolder
from orpheus_openai.voices.consents import ConsentFolder
from orpheus_openai.voices.form import (
    DESCRIPTION,
    LONGEST_RECORDING,
    RECORDING,
    REPOSITORY,
    VoiceError,
    VoiceFile,
    described,
    folder_name,
)

HELP = "list the voices, and add, show, test or remove your own"
EXAMPLES = """\
  orpheus-openai voices
  orpheus-openai voices add Nora --model medium-3b --language en
  orpheus-openai voices add Narrator --adapter ./lora
  orpheus-openai voices add Ann --recording ann.wav --transcript "The quick brown fox …" --consent consent.wav
  orpheus-openai voices test Ann"""
ADAPTER = "adapter"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe what it can do beside listing."""
    actions = parser.add_subparsers(metavar="ACTION")
    add = actions.add_parser("add", help="add a voice to the folder that ORPHEUS_VOICES names")
    add.add_argument("name")
    what = add.add_mutually_exclusive_group()
    what.add_argument("--adapter", metavar="FOLDER", help="its LoRA adapter: a folder, or hub:owner/name")
    what.add_argument("--recording", metavar="FILE", help="3 to 30 seconds of it; with --transcript")
    add.add_argument("--transcript", metavar="TEXT", help="what is said in the recording, word for word")
    add.add_argument("--consent", metavar="FILE", help="a recording in which its speaker consents")
    add.add_argument("--model", help="the model that speaks it (default: the usual one of its kind)")
    add.add_argument(
        "--language", action="append", metavar="CODE", help="such as en; several times for several"
    )
    add.add_argument("--gender", choices=["female", "male", "neutral"], default="neutral")
    add.add_argument(
        "--prefix", help='the name before the text in the prompt (default: its own; "" for none)'
    )
    add.set_defaults(act=_add)
    for name, act, about in (
        ("show", _show, "print the description of a voice"),
        ("test", _test, "say whether a voice can be spoken with on this machine"),
        ("remove", _remove, "remove a voice and its data"),
    ):
        action = actions.add_parser(name, help=about)
        action.add_argument("name")
        action.set_defaults(act=act)
    parser.set_defaults(act=_list)


def run(options: argparse.Namespace) -> int:
    """Do what was asked for; print a table where nothing was."""
    from orpheus_openai.models.orpheus.adapters import adapter_at_hand  # noqa: PLC0415  what reads them is large

    settings = load_settings()
    folder = VoiceFolder(settings.voices, adapter_at_hand)
    try:
        code: int = options.act(options, settings, folder, load_catalog(settings.catalog))
    except VoiceError as error:
        raise InvalidRequestError(str(error)) from error
    return code


def _list(_options: argparse.Namespace, _settings: Settings, folder: VoiceFolder, catalog: Catalog) -> int:
    rows = [("VOICE", "LANGUAGE", "GENDER", "OPENAI'S NAMES")]
    for voice in catalog.voices.values():
        names = ", ".join(catalog.other_names(voice))
        rows.append((voice.id, catalog.languages[voice.language].english, voice.gender, names))
    print_columns(rows)
    found = folder.read(catalog)
    if found.voices:
        print()
        own = [("YOUR VOICE", "LANGUAGE", "GENDER", "KIND", "MODEL", "MEMORY")]
        for each in found.voices:
            languages = ", ".join(catalog.languages[language].english for language in each.languages)
            memory = f"{each.memory / 2**20:.0f} MiB" if each.memory else "-"
            own.append((each.title, languages, each.gender, each.kind, each.models[0], memory))
        print_columns(own)
    for name, problem in found.problems.items():
        say(f"the voice in {folder.root / name} cannot be used: {problem}")
    return 0


def _add(options: argparse.Namespace, settings: Settings, folder: VoiceFolder, catalog: Catalog) -> int:
    file = VoiceFile(
        name=options.name,
        kind="adapter" if options.adapter else "prompt" if options.recording else "named",
        model=options.model or "",
        languages=tuple(options.language or ("en",)),
        gender=options.gender,
        prefix=options.prefix,
        transcript=options.transcript or "",
        created=int(time.time()),
    )
    place = folder_name(options.name)
    with _audited("voices add", settings) as tell:
        if options.adapter:
            voice = _add_adapter(options.adapter, place, file, folder, catalog)
        elif options.recording:
            voice = _add_recorded(options, file, settings, folder, catalog)
        else:
            voice = folder.add(place, file, catalog)
        tell(voice.id)
    print(folder.root / place)
    say(f"{voice.title} is a voice of {voice.models[0]}; a server that runs has it in two seconds")
    return 0


@contextlib.contextmanager
def _audited(command: str, settings: Settings) -> Iterator[Callable[[str], None]]:
    """What tells the audit log that the command was done with a voice.

    The log is opened before: what could not be told is not done. On standard output, which is not the server's here,
    nothing is told.
    """
    from orpheus_openai.http.middleware.audit import STANDARD_OUTPUT, AuditLog, describe  # noqa: PLC0415  a server's
    from orpheus_openai.limits.caller import Caller  # noqa: PLC0415

    if settings.audit_log in ("", STANDARD_OUTPUT):
        yield lambda _voice: None
        return
    began, log = time.monotonic(), AuditLog(settings.audit_log)

    def tell(voice: str) -> None:
        seconds = time.monotonic() - began
        line = describe(
            "", Caller(), None, method="", path="", status=0, seconds=seconds, with_text=False, voice=voice
        )
        no_request = dict.fromkeys(("id", "address", "method", "path", "status"))
        log.write({**line, **no_request, "command": command, "user": _user()})

    try:
        yield tell
    finally:
        log.close()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container, a number without a name
        return str(os.getuid())


def _add_adapter(named: str, place: str, file: VoiceFile, folder: VoiceFolder, catalog: Catalog) -> OwnVoice:
    from orpheus_openai.models.orpheus.adapter_file import WEIGHTS  # noqa: PLC0415
    from orpheus_openai.models.orpheus.adapters import adapter_at_hand, require_servable  # noqa: PLC0415

    file = replace(file, adapter=named if named.startswith("hub:") else ADAPTER)
    if repository := REPOSITORY.fullmatch(named):
        folder.require(place, file, catalog)
        if (here := adapter_at_hand(repository[1])) is None:
            say(f"{named} is not here yet: `voices test` downloads it and says whether it can be spoken with")
        else:
            require_servable(here)
    if file.adapter == named:
        return folder.add(place, file, catalog)
    source = Path(named)
    if not (source / CONFIG).is_file():
        raise VoiceError(f"adapter: there is no {CONFIG} in {source}")
    require_servable(source)

    def put(staging: Path) -> None:
        (staging / ADAPTER).mkdir()
        for path in source.iterdir():
            if (path.name == WEIGHTS or path.suffix in (".json", ".md")) and path.is_file():
                shutil.copyfile(path, staging / ADAPTER / path.name)

    return folder.add(place, file, catalog, put)


def _add_recorded(
    options: argparse.Namespace, file: VoiceFile, settings: Settings, folder: VoiceFolder, catalog: Catalog
) -> OwnVoice:
    from orpheus_openai.voices.recordings import SHORTEST_CONSENT, judge, trimmed, write_wav  # noqa: PLC0415

    if settings.voice_consent == "required" and not options.consent:
        raise VoiceError(
            "a voice made of a recording needs the consent of its speaker: --consent FILE, a recording of it "
            "(on a private machine: ORPHEUS_VOICE_CONSENT=off)"
        )
    pcm = trimmed(_read(options.recording))
    judge(pcm, "--recording", longest=LONGEST_RECORDING)
    consents, given = ConsentFolder(settings.voices), None
    if options.consent:
        said = _read(options.consent)
        judge(said, "--consent", shortest=SHORTEST_CONSENT)
        given = consents.add(options.name, file.languages[0], "", partial(write_wav, pcm=said))
    try:
        return folder.add(
            folder_name(file.name),
            replace(file, recording=RECORDING, consent=given.id if given else ""),
            catalog,
            lambda staging: write_wav(staging / RECORDING, pcm),
        )
    except BaseException:  # also of a full disk, or of whoever thinks better of it
        if given:
            consents.remove(given)
        raise


def _read(file: str) -> PCM:
    from orpheus_openai.audio.decode import recording  # noqa: PLC0415  what decodes is large

    try:
        return recording(file)
    except OSError as error:
        raise VoiceError(f"{file} cannot be read: {error.strerror or error}") from error


def _place(name: str, folder: VoiceFolder, catalog: Catalog) -> str:
    """The folder of the voice of that name or id, also of one that cannot be used."""
    found = folder.read(catalog)
    places = {problem.lower(): problem for problem in found.problems}
    places |= {key: voice.place for voice in found.voices for key in (voice.id, voice.title.lower())}
    wanted = name.strip().lower()
    place = places.get(wanted) or places.get(re.sub(r"\s+", "-", wanted))
    if place is None:
        own = ", ".join(voice.title for voice in found.voices) or "none"
        raise VoiceError(f"there is no voice {name!r} in {folder.root}; there are: {own}")
    return place


def _show(options: argparse.Namespace, _settings: Settings, folder: VoiceFolder, catalog: Catalog) -> int:
    place = _place(options.name, folder, catalog)
    print(f"# {folder.root / place / DESCRIPTION}")
    print(described(folder.description(place)), end="")
    return 0


def _test(options: argparse.Namespace, settings: Settings, folder: VoiceFolder, catalog: Catalog) -> int:
    from orpheus_openai.models.factory import ModelFactory  # noqa: PLC0415  looks at every engine
    from orpheus_openai.models.orpheus.adapters import (  # noqa: PLC0415
        adapter_folder,
        require_base,
        require_servable,
    )

    voice = folder.voice(_place(options.name, folder, catalog), catalog)
    factory = ModelFactory(settings, catalog.with_voices([voice]))
    try:
        factory.require_voice(catalog.models[voice.models[0]], voice)
        if voice.adapter:
            require_base(voice, catalog)
            require_servable(adapter_folder(voice.adapter), settings.adapter_rank)
    except (ModelUnavailableError, NotReadyError) as error:
        say(error.message)
        return 1
    print(f"{voice.title} can be spoken with here: orpheus-openai speak --voice '{voice.title}' 'Hello!'")
    return 0


def _remove(options: argparse.Namespace, settings: Settings, folder: VoiceFolder, catalog: Catalog) -> int:
    place = _place(options.name, folder, catalog)
    try:
        consent = folder.description(place).consent
    except (VoiceError, OSError):
        consent = ""
    with _audited("voices remove", settings) as tell:
        folder.remove(place)
        tell(place)
    say(f"removed {folder.root / place}")
    if consent:
        say(f"the consent of its speaker stays: {folder.root / '.consents' / consent}")
    return 0
