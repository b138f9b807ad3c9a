#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Each function that a library calls back with a void * of ours checks the object's magic number, and has a test.

A library may hand back another pointer than the code takes it for; see include/base/magic.h.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

# How a callback is registered with a library: its name is the group.
REGISTRATIONS = [re.compile(pattern, re.S) for pattern in (
    r"\bevent_new\([^;]*?,\s*(\w+),\s*\w+\);",
    r"\bevsignal_new\([^;]*?,\s*(\w+),\s*\w+\);",
    r"\bevent_set_\w+_callback\((\w+)\)",
    r"\bevent(?:conn)?\w*_set_\w*cb\(\w+,\s*(\w+)",
    r"\brd_kafka_\w*set_\w*_cb\(\w+,\s*(\w+)\)",
    r"\bPQset\w+(?:Receiver|Processor)\([^,]+,\s*(\w+),",
    r"\bpthread_create\([^,]+,[^,]+,\s*(\w+),",
    r"\btdestroy\([^,]+,\s*(\w+)\)",
    r"\brd_kafka_(?:conf_)?interceptor_add_\w+\(\w+,\s*\"[^\"]*\",\s*(\w+),",
)]
# A function of ours takes an object out of an answer itself.
TAKEN_OUT = re.compile(r"\brd_kafka_(?:event_opaque|topic_opaque|opaque)\(|->_private\b")

FUNCTION = re.compile(r"^(?:static )?[\w \*]*?\b(\w+)\(([^;{}]*?)\)\n\{\n(.*?)^\}", re.M | re.S)

# What gets no object of ours, and why.
WITHOUT = {
    "destroy_producer": "a handle of librdkafka's own",
}

# Where the library calls each with an object of ours.
TESTS = {
    "io_ready": "tests/unit/test_loop.c::test_descriptors_persist_until_freed",
    "timer_fired": "tests/unit/test_loop.c::test_timers_in_order_of_time",
    "signal_caught": "tests/unit/test_loop.c::test_signals",
    "on_notice": "tests/unit/test_pg.c::test_the_servers_last_words_are_told",
    "receive_notice": "tests/system/test_commands.py::test_migrate_may_be_repeated",
    "on_report": "tests/unit/test_kafka_sink.c::a_record_arrives_as_it_was_sent",
    "on_log": "tests/unit/test_kafka_sink.c::a_broker_may_be_unreachable_at_the_start",
    "topic_free": "tests/unit/test_kafka_sink.c::keys_go_where_java_puts_them",
    "choose": "tests/unit/test_kafka_sink.c::keys_go_where_java_puts_them",
    "kafka_topics_settings": "tests/unit/test_kafka_sink.c::it_ends_with_a_question_open",
    "kafka_topics_creation": "tests/system/test_kafka_refuses.py::test_a_topic_that_may_not_be_created",
    "on_certificate": "tests/system/test_kafka_not_let_in.py::test_refused",
    "on_token_wanted": "tests/system/test_kafka_refuses.py::test_no_token_is_given",
    "help": "tests/unit/test_kafka_takeover.c::it_is_ready_once_it_was_rebuilt",
    "on_new": "tests/unit/test_kafka_transaction.c::one_producer_commits_batch_after_batch",
    "on_sent": "tests/unit/test_kafka_transaction.c::one_producer_commits_batch_after_batch",
    "on_answered": "tests/unit/test_kafka_transaction.c::an_answer_that_was_lost_makes_a_commit_unclean",
    "destroy_producer": "tests/unit/test_kafka_sink.c::the_embedded_broker_serves_and_survives_a_rebuild",
    "log_libevent": "tests/unit/test_magic.c::test_a_warning_of_libevent",
}


def functions(text):
    return {name: (parameters, body) for name, parameters, body in FUNCTION.findall(text)}


def registered(text):
    return {name for pattern in REGISTRATIONS for name in pattern.findall(text)} - {"NULL"}


def is_checked(parameters, body):
    pointer = re.search(r"\bvoid \*(arg|opaque)\b", parameters)
    return not pointer or f"(void){pointer.group(1)};" in body or "MAGIC_CHECK(" in body


def problems_of(path, names):
    text = path.read_text()
    known = functions(text)
    takes_out = {name for name, (_, body) in known.items() if TAKEN_OUT.search(body)}
    names |= {name for name in registered(text)} | takes_out
    for name in sorted((registered(text) | takes_out) & set(known)):
        parameters, body = known[name]
        wanted = name in takes_out or not is_checked(parameters, body)
        if name not in WITHOUT and wanted and "MAGIC_CHECK(" not in body:
            yield f"{path.relative_to(ROOT)}: {name} takes a void * from a library without MAGIC_CHECK"


def tests_missing(names):
    for name in sorted(names - set(TESTS)):
        yield f"tests/lint/callbacks.py: TESTS names no test of {name}"
    for name in sorted(set(TESTS) - names):
        yield f"tests/lint/callbacks.py: TESTS names {name}, which is no callback"
    for name, test in TESTS.items():
        file, _, function = test.partition("::")
        path = ROOT / file
        if not path.exists() or not re.search(rf"\b{function}\(", path.read_text()):
            yield f"tests/lint/callbacks.py: {test}, the test of {name}, is not there"


def main():
    names, problems = set(), []
    for path in sorted((ROOT / "relay").rglob("*.c")):
        problems += problems_of(path, names)
    problems += tests_missing(names)
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"callbacks: {len(names)} called by libraries, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
