"""docs/security.md lists every limit: its default is the code's, and a test shows what lies beyond it."""

import asyncio
import functools
import re
from pathlib import Path

import msgspec
import pytest
import uvicorn
from websockets.http11 import MAX_LINE_LENGTH, MAX_NUM_HEADERS

from orpheus_compat import live, live_utterance
from orpheus_eleven import context
from orpheus_eleven.sockets import INACTIVITY_SECONDS, LONGEST_INACTIVITY, MOST_CONTEXTS, MOST_ENDING
from orpheus_mcp.sessions import IDLE_SECONDS, MAX_SESSIONS, MAX_SESSIONS_PER_CALLER
from orpheus_mcp.tools import MOST_HANDED
from orpheus_openai.audio import SAMPLE_RATE
from orpheus_openai.catalog.base import LARGEST_CONFIG
from orpheus_openai.events import LISTENER_BACKLOG, EventHub
from orpheus_openai.fields import LARGEST_BESIDE
from orpheus_openai.gpu.manager import HELD_SECONDS, LONGEST_OFFLOAD
from orpheus_openai.gpu.monitor import ANSWER_SECONDS
from orpheus_openai.http import sockets
from orpheus_openai.http.body import BODY_SECONDS, MAX_BODY_BYTES
from orpheus_openai.http.form import LONGEST_FIELD, MAX_FIELDS, MAX_FORM_BYTES
from orpheus_openai.http.middleware.audit import BACKLOG
from orpheus_openai.http.middleware.keys import MOST_UNKNOWN, UNKNOWN_SECONDS
from orpheus_openai.http.protocol import HEAD_SECONDS, MAX_HEAD_BYTES
from orpheus_openai.http.socket_protocol import MAX_FRAGMENTS, MAX_MESSAGE_BYTES, PING_SECONDS
from orpheus_openai.limits import gate
from orpheus_openai.limits.filter import MODERATION_SECONDS
from orpheus_openai.limits.rates import ACCOUNTS_KEPT
from orpheus_openai.models import downloads
from orpheus_openai.models.orpheus.checkpoint import HEADER_BYTES
from orpheus_openai.models.preview import children, process
from orpheus_openai.settings import Settings, variable_name
from orpheus_openai.settings.reading import as_written
from orpheus_openai.speech import buffer, producer, takes, verification
from orpheus_openai.speech.feed import MOST_UNSPOKEN
from orpheus_openai.speech.heard import KEPT_BYTES, LOOKED_FOR
from orpheus_openai.speech.interruption import KEPT
from orpheus_openai.speech.plan import PLAN_WAIT, PLANS_OF_ONE, PLANS_WAITING
from orpheus_openai.speech.request import Cast, Pronunciations
from orpheus_openai.text.reading import FREELY_ADDED
from orpheus_openai.text.ssml import MAX_DEPTH
from orpheus_openai.text.turns import MOST_SILENCE
from orpheus_openai.voices import decoder, recordings
from orpheus_openai.voices.folder import MOST_VOICES
from orpheus_openai.voices.form import LARGEST_DESCRIPTION, LONGEST_RECORDING, MOST_UNQUOTED
from orpheus_ui import routes

ROOT = Path(__file__).parents[2]


def most_of(kind):
    """How many entries a field of that type may have."""
    return next(meta.max_length for meta in kind.__metadata__)


SHOWN = {
    "Connections": "test_a_server_full_of_connections_says_so_and_logs_it_once",
    "Connections from one address": "test_one_connection_too_many_is_answered_503_and_closed_and_the_next_may_come",
    "Head and trailers of a request": "test_a_head_may_have_64_kib_and_not_a_byte_more",
    "Seconds until a head is complete": "test_three_hundred_half_heads_close_the_server_to_nobody_and_are_gone_after",
    "Requests read ahead on a connection": "test_requests_sent_ahead_are_all_answered_in_their_order_and_not_read",
    "Seconds between two requests": "test_a_connection_that_nobody_uses_is_closed",
    "Body of a request": "test_a_body_of_ten_megabytes_is_refused_in_words",
    "JSON beside the text that it holds": "test_what_stands_beside_a_text_has_an_end_at_every_door",
    "Seconds until a body is complete": "test_a_body_that_never_ends_is_given_up",
    "Seconds in which nothing moves": "test_a_reader_who_stands_still_is_let_go_and_his_place_is_free",
    "Seconds for a request altogether": "test_a_request_that_takes_too_long_before_its_audio_is_408",
    "Least speed of reading, times real time": "test_a_slow_reader_is_cut_off_and_its_place_is_free",
    "Characters of a text": "test_what_is_wrong_is_said_with_the_fields_name",
    "Seconds of silence that a text asks for": "test_all_silences_together_have_an_end",
    "Repetitions in a row": "test_endless_repetition_is_refused_and_emphasis_is_not",
    "Seconds for a judge of your own": "test_a_moderator_that_dawdles_lets_nothing_pass",
    "Speeches at once": "test_who_waits_is_told_the_position_and_is_served_in_order",
    "Speeches of one caller, waiting ones included": "test_one_caller_may_be_kept_from_taking_every_place",
    "Speeches that wait": "test_beyond_the_line_the_answer_is_429_at_once_and_all_is_well_after_it",
    "Seconds of waiting": "test_a_turn_that_does_not_come_in_time_is_429",
    "Dry runs of one caller": "test_one_dry_run_too_many_is_turned_away_at_once_and_those_in_line_are_served",
    "Dry runs that wait": "test_one_dry_run_too_many_is_turned_away_at_once_and_those_in_line_are_served",
    "What one caller may ask for": "test_requests_are_counted_for_each_key_and_the_answer_says_what_is_left",
    "Callers whose shares are remembered": "test_callers_without_number_do_not_fill_the_memory",
    "Seconds of waiting for a model to load": "test_waiting_for_a_load_has_an_end",
    "Seconds of waiting while a model is offloaded": "test_whoever_comes_while_an_offload_waits_is_told_to_come_again",
    "Seconds without more of a text that is being written": "test_who_neither_writes_nor_ends_is_told_so",
    "Bytes of a message on a socket": "test_a_message_that_is_too_large_closes_the_socket",
    "Seconds until a socket's first message": "test_a_socket_that_says_nothing_is_closed",
    "Parts of a message on a socket": "test_a_message_of_too_many_fragments_closes_the_socket",
    "Seconds until a socket answers a ping": "test_a_peer_that_answers_no_ping_is_let_go_and_its_place_is_free",
    "Seconds in which a socket says nothing, and nothing is spoken on it": "test_a_socket_that_says_nothing_is_closed",
    "Utterances of a socket that wait for those before them": "test_more_text_than_is_held_waits_in_the_clients_socket",
    "Characters of theirs": "test_more_text_than_is_held_waits_in_the_clients_socket",
    "Audio of one message, where it is not streamed": "test_audio_that_is_too_long_for_one_message_is_said_to_be",
    "Sockets on which no key has come yet": "test_a_key_may_come_late_on_elevenlabs_paths_and_few_may_wait_so",
    "Seconds until it comes on one": "test_the_key_comes_in_a_header_or_in_the_first_message_in_time",
    "Speeches that can be interrupted after their end": "test_only_so_many_speeches_are_remembered_after_their_end",
    "Sound in which an interrupted word is looked for, all speeches together": "test_the_sound_of_long_ago_is",
    "Seconds for finding that word": "test_what_takes_too_long_to_find_is_estimated",
    "MCP sessions": "test_all_sessions_together_have_a_bound_and_idle_ones_make_room",
    "MCP sessions of one caller": "test_who_opens_too_many_sessions_loses_the_one_they_have_not_used_for_longest",
    "Seconds an MCP session is not used": "test_a_session_that_nobody_uses_ends",
    "Contexts open on a socket of ElevenLabs'": "test_one_context_too_many_is_told",
    "Speeches of a context that an interruption tells of": "test_a_text_that_pauses_is_spoken_and_goes_on",
    "Seconds without text after which a speech gives its place back": "test_a_text_that_pauses_is_spoken_and_goes_on",
    "Seconds in which nothing comes on one": "test_a_sender_who_falls_silent_is_heard_out_and_told",
    "Events that a slow listener is behind": "test_a_listener_who_falls_behind_is_told_how_many_events_were_lost",
    "Lines of the audit log that wait for the disk": "test_what_comes_faster_than_it_can_be_written_is_counted",
    "Seconds that the GPU's driver may take to answer": "test_a_driver_that_hangs_takes_one_thread_and_nobodys_time",
    "Bytes of audio in an answer of MCP": "test_audio_that_is_too_long_to_be_handed_over_is_said_to_be",
    "Bytes of saved speech": "test_what_is_too_much_goes_oldest_first_after_each_save",
    "Form with a recording": "test_a_body_that_is_no_form_or_too_large_is_refused",
    "Seconds of a recording": "test_a_recording_that_cannot_be_used_is_told_why_and_leaves_nothing",
    "Recordings that wait to be read": "test_one_recording_too_many_is_turned_away",
    "Recordings of one caller that wait or are read": "test_one_recording_too_many_is_turned_away",
    "Voices that one key has added": "test_consents_are_listed_by_a_cursor_renamed_and_ones_own",
    "Hours that saved speech is kept": "test_what_is_too_old_goes",
    "Elements of SSML inside each other": "test_what_cannot_be_read_is_told_with_its_place",
    "Words with a pronunciation of their own in a request": "test_what_a_request_may_bring_has_bounds",
    "Characters that these add to a text": "test_what_a_requests_entries_add_to_a_text_has_an_end",
    "Speakers in a request": "test_what_a_request_may_bring_has_bounds",
    "Seconds that a dry run waits": "test_a_turn_that_does_not_come_in_time_is_429",
    "Seconds that an offload waits for running speech": "test_a_wrong_offload_is_said_so",
    "Characters of it that are not spoken yet": "test_who_writes_faster_than_is_spoken_waits",
    "Model files that are downloaded at once": "test_it_can_be_watched_and_broken_off",
    "Hours of a download": "test_a_download_that_takes_too_long_is_given_up",
    "Seconds of speech held back until it sounds": "test_of_a_text_without_an_end_no_more_is_held",
    "Seconds of a segment held until it is found good": "test_a_segment_that_is_held_has_a_bound",
    "Segments whose words wait to be looked at": "test_words_for_which_nobody_has_time_to_look_are_unchecked",
    "Parts of a form": "test_a_body_that_is_no_form_or_too_large_is_refused",
    "Bytes of a field that is no file": "test_a_body_that_is_no_form_or_too_large_is_refused",
    "Seconds for reading one": "test_who_hangs_up_while_a_recording_is_read_ends_that_and_its_time_is_bounded",
    "Processor seconds for reading one": "test_what_decodes_a_recording_can_open_nothing_and_has_bounds",
    "Memory of the process that reads it": "test_what_decodes_a_recording_can_open_nothing_and_has_bounds",
    "Seconds that a recording waits": "test_a_turn_that_does_not_come_in_time_is_429",
    "Voices in the folder": "test_what_lies_in_the_place_of_a_voice_is_told_of",
    "Bytes of a voice's description": "test_what_cannot_be_a_voice_is_left_out",
    "Characters of it beside texts and comments": "test_what_cannot_be_a_voice_is_left_out",
    "Bytes of what an adapter says of itself": "test_a_strangers_config_is_refused_in_words",
    "Bytes of the head of an adapter's or a checkpoint's weights": "test_a_strangers_weights_are_refused",
    "Bytes of all takes": "test_all_takes_together_have_a_bound",
    "Bytes of one caller's takes, a part of that": "test_a_caller_has_so_many_takes_and_a_quarter_of_the_bytes",
    "Text and times of words for captions": "test_words_and_their_times_become_subtitles",
    "Takes of one caller": "test_a_caller_has_so_many_takes",
    "Seconds that a take is kept": "test_a_take_is_kept_for_an_hour",
    "PCM of a download that is encoded": "test_encoding_has_a_bound_counts_as_a_request_and_may_be_left",
    "Downloads that are encoded at once": "test_few_are_encoded_at_once_and_the_line_has_an_end",
    "Downloads that wait to be encoded": "test_few_are_encoded_at_once_and_the_line_has_an_end",
    "Downloads of one caller, waiting ones included": "test_whoever_sends_slowly_keeps_no_place_and_one_caller_has_two",
    "Seconds that a download waits to be encoded": "test_a_turn_that_does_not_come_in_time_is_429",
    "Seconds for its PCM to come": "test_whoever_sends_slowly_keeps_no_place_and_one_caller_has_two",
    "Memory of a child": "test_the_processes_have_limits_and_know_no_secrets",
    "Processor seconds of a child, without those for its text": "test_a_child_that_takes_too_much_processor_time",
    "Bytes of text for which it has one second more": "test_the_processes_have_limits_and_know_no_secrets",
    "Open files of a child": "test_the_processes_have_limits_and_know_no_secrets",
    "Seconds in which it gives nothing while somebody waits for it": "test_a_child_that_hangs_is_given_up_and_killed",
    "Children at once": "test_more_speeches_than_there_may_be_children_wait_in_their_order",
}
"""Each limit, and the beginning of the name of the test that goes beyond it."""

FIXED = {
    "Head and trailers of a request": f"{MAX_HEAD_BYTES // 1024} KiB",
    "Seconds until a head is complete": HEAD_SECONDS,
    "Requests read ahead on a connection": 1,
    "Seconds between two requests": uvicorn.Config("").timeout_keep_alive,
    "Body of a request": f"{MAX_BODY_BYTES // 1024 // 1024} MiB",
    "JSON beside the text that it holds": f"{LARGEST_BESIDE // 1024} KiB",
    "Seconds until a body is complete": round(BODY_SECONDS),
    "Form with a recording": f"{MAX_FORM_BYTES // 1024 // 1024} MiB",
    "Seconds of a recording": LONGEST_RECORDING,
    "Recordings that wait to be read": recordings.WAITING,
    "Recordings of one caller that wait or are read": recordings.WAITING_OF_ONE,
    "Seconds of silence that a text asks for": MOST_SILENCE,
    "Dry runs that wait": PLANS_WAITING,
    "Dry runs of one caller": PLANS_OF_ONE,
    "Seconds for a judge of your own": MODERATION_SECONDS,
    "Bytes of a message on a socket": f"{MAX_MESSAGE_BYTES // 1024 // 1024} MiB",
    "Parts of a message on a socket": MAX_FRAGMENTS,
    "Seconds until a socket's first message": sockets.FIRST_SECONDS,
    "Seconds in which a socket says nothing, and nothing is spoken on it": sockets.IDLE_SECONDS,
    "Utterances of a socket that wait for those before them": live.MOST_AHEAD,
    "Characters of theirs": live.MOST_AHEAD_CHARACTERS,
    "Audio of one message, where it is not streamed": f"{live_utterance.MOST_WHOLE_BYTES // 1024 // 1024} MiB",
    "Sockets on which no key has come yet": MOST_UNKNOWN,
    "Speeches that can be interrupted after their end": KEPT,
    "Sound in which an interrupted word is looked for, all speeches together": f"{KEPT_BYTES // 1024 // 1024} MiB",
    "Seconds for finding that word": LOOKED_FOR,
    "Seconds until it comes on one": UNKNOWN_SECONDS,
    "Callers whose shares are remembered": ACCOUNTS_KEPT,
    "Seconds of waiting while a model is offloaded": HELD_SECONDS,
    "MCP sessions": MAX_SESSIONS,
    "MCP sessions of one caller": MAX_SESSIONS_PER_CALLER,
    "Seconds an MCP session is not used": IDLE_SECONDS,
    "Contexts open on a socket of ElevenLabs'": MOST_CONTEXTS,
    "Speeches of a context that an interruption tells of": context.MOST_REMEMBERED,
    "Seconds without text after which a speech gives its place back": context.IDLE_SECONDS,
    "Seconds in which nothing comes on one": INACTIVITY_SECONDS,
    "Events that a slow listener is behind": LISTENER_BACKLOG,
    "Lines of the audit log that wait for the disk": BACKLOG,
    "Seconds that the GPU's driver may take to answer": ANSWER_SECONDS,
    "Bytes of audio in an answer of MCP": f"{MOST_HANDED // 1024 // 1024} MiB",
    "Elements of SSML inside each other": MAX_DEPTH,
    "Words with a pronunciation of their own in a request": most_of(Pronunciations),
    "Characters that these add to a text": f"{FREELY_ADDED}, and as many as it has",
    "Speakers in a request": most_of(Cast),
    "Seconds that a dry run waits": PLAN_WAIT,
    "Seconds that an offload waits for running speech": LONGEST_OFFLOAD,
    "Characters of it that are not spoken yet": MOST_UNSPOKEN,
    "Model files that are downloaded at once": 1,
    "Hours of a download": downloads.LONGEST / 3_600,
    "Seconds of speech held back until it sounds": buffer.MOST_HELD,
    "Seconds of a segment held until it is found good": producer.MOST_HELD / SAMPLE_RATE,
    "Segments whose words wait to be looked at": verification.MOST_WAITING,
    "Parts of a form": MAX_FIELDS,
    "Bytes of a field that is no file": f"{LONGEST_FIELD // 1024} KiB",
    "Seconds for reading one": recordings.DECODE_SECONDS,
    "Processor seconds for reading one": decoder.CPU_SECONDS,
    "Memory of the process that reads it": f"{decoder.MEMORY // 1024 // 1024} MiB",
    "Seconds that a recording waits": recordings.WAIT_SECONDS,
    "Voices in the folder": MOST_VOICES,
    "Bytes of a voice's description": f"{LARGEST_DESCRIPTION // 1024} KiB",
    "Characters of it beside texts and comments": str(MOST_UNQUOTED),
    "Bytes of what an adapter says of itself": f"{LARGEST_CONFIG // 2**20} MiB",
    "Bytes of the head of an adapter's or a checkpoint's weights": f"{HEADER_BYTES // 2**20} MiB",
    "Bytes of one caller's takes, a part of that": f"1/{takes.SHARE}",
    "Text and times of words for captions": f"{routes.MAX_TIMED_BYTES // 1024 // 1024} MiB",
    "Takes of one caller": takes.TAKES_PER_CALLER,
    "Seconds that a take is kept": takes.TAKE_SECONDS,
    "PCM of a download that is encoded": f"{routes.MAX_PCM_BYTES // 1024 // 1024} MiB",
    "Downloads that are encoded at once": routes.ENCODERS,
    "Downloads that wait to be encoded": routes.ENCODER_QUEUE,
    "Downloads of one caller, waiting ones included": routes.ENCODERS_PER_CALLER,
    "Seconds that a download waits to be encoded": routes.ENCODER_WAIT,
    "Seconds for its PCM to come": routes.ENCODER_SECONDS,
    "Memory of a child": f"{process.MEMORY_BYTES // 1024 // 1024} MiB",
    "Processor seconds of a child, without those for its text": process.CPU_SECONDS,
    "Bytes of text for which it has one second more": process.CHARACTERS_A_CPU_SECOND,
    "Open files of a child": process.FILES,
    "Seconds in which it gives nothing while somebody waits for it": children.STALL_SECONDS,
    "Children at once": process.MAX_CHILDREN,
}
"""Those without a setting, by what the code says."""

TOLD_BESIDE = {
    "Head and trailers of a request": [MAX_LINE_LENGTH / 1024, MAX_NUM_HEADERS],
    "Speeches at once": [gate.UNCOUNTED],
    "Seconds of a recording": [decoder.LONGEST],
    "Seconds until a socket answers a ping": [PING_SECONDS],
    "Contexts open on a socket of ElevenLabs'": [MOST_ENDING],
    "Seconds in which nothing comes on one": [LONGEST_INACTIVITY],
}
"""Numbers that the table has behind a limit, which are neither statuses nor 0 for none."""

STATUSES = {408, 409, 413, 429, 431, 400, 502, 503, 1008, 1009, 1011, 1012}


HEAD = "| What | At most | Setting | What is beyond it |\n| --- | --- | --- | --- |\n"


@functools.cache
def page():
    return (ROOT / "docs/security.md").read_text(encoding="utf-8")


@functools.cache
def rows():
    tables = [table.partition("\n\n")[0] for table in page().split(HEAD)[1:]]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in "\n".join(tables).splitlines()]


def numbers(words):
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?", re.sub(r"`[^`]*`|/64", "", words))]


def test_every_limit_has_the_default_of_the_code():
    fields = {f"`{variable_name(field.name)}`": field for field in msgspec.structs.fields(Settings)}
    assert len(rows()) > 20
    for what, at_most, setting, _ in rows():
        if setting == "–":
            assert at_most == str(as_written(FIXED[what])), what
        else:
            assert at_most == str(as_written(fields[setting].default)), what


def test_what_stands_behind_a_limit_is_the_codes_too():
    for what, *_, beyond in rows():
        told = [number for number in numbers(beyond) if number not in STATUSES | {0}]
        assert told == TOLD_BESIDE.get(what, []), what


@pytest.mark.parametrize("section", ["Limits", "Texts", "The preview's native code"])
def test_no_limit_is_told_outside_of_the_tables(section):
    """What a sentence says nobody compares with the code."""
    prose = re.search(rf"^## {section}\n(.*?)^## ", page(), flags=re.MULTILINE | re.DOTALL)[1]
    prose = re.sub(r"^\|.*\n|^```.*?^```\n", "", prose, flags=re.MULTILINE | re.DOTALL)
    assert set(numbers(prose)) <= STATUSES
    assert not re.search(r"\b(seconds?|minutes?|hours?|bytes|[KM]iB|half|quarter|twice)\b", prose)


def test_every_setting_that_is_a_limit_is_listed():
    listed = {setting.strip("`") for _, _, setting, _ in rows()}
    names = [variable_name(field.name) for field in msgspec.structs.fields(Settings)]
    of_one_model = {"ORPHEUS_MAX_MODEL_LEN", "ORPHEUS_MAX_STREAMS"}
    limits = {
        name for name in names if re.match(r"ORPHEUS_(\w+_)?(MAX|MIN)_|ORPHEUS_.*(TIMEOUT|WAIT)$", name)
    }
    assert limits - of_one_model - {"ORPHEUS_UNLOAD_TIMEOUT"} <= listed


def test_every_limit_is_shown_by_a_test():
    written = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    names = "\n".join(re.findall(r"^(?:async )?def (test_\w+)", written, flags=re.MULTILINE))
    for what, *_ in rows():
        assert f"\n{SHOWN[what]}" in names, what
    assert SHOWN.keys() == {what for what, *_ in rows()}


# --- limits that have no other place ----------------------------------------------------------------------------------


async def test_a_listener_who_falls_behind_is_told_how_many_events_were_lost():
    hub = EventHub()
    with hub.subscribe() as events:
        for number in range(LISTENER_BACKLOG + 500):
            hub.publish("speech.progress", number=number)
        heard = [await asyncio.wait_for(anext(events), 30) for _ in range(LISTENER_BACKLOG + 1)]
    assert (heard[0].type, heard[0].data) == ("events.lost", {"count": 500})
    assert [event.data["number"] for event in heard[1:]] == list(range(500, LISTENER_BACKLOG + 500))


def test_what_has_no_setting_says_so():
    assert {row[0] for row in rows() if row[2] == "–"} == FIXED.keys()
