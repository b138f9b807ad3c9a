/* SPDX-License-Identifier: ISC */
/*
 * test_frame.c - what `status --watch` draws fits the window and is harmless
 */
#include "base/xalloc.h"
#include "commands/frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <locale.h>
#include <stdlib.h>
#include <wchar.h>

#define RELAY                                                                                      \
	"\"relay\": {\"depth\": 7, \"batch_events\": 0, \"explanation\": \"waits for Kafka\","     \
	"\"problems\": [{\"name\": \"kafka_unreachable\", \"ready\": false, \"seconds\": 12.3,"    \
	"\"text\": \"no broker of 10.0.0.1:9092 answers\","                                        \
	"\"runbook\": \"docs/runbooks/kafka-unreachable.md\"}], \"rate_10s\": 1.5,"                \
	"\"rate_60s\": 0.5, \"latency\": null, \"dead_letters\": 0, \"parked_keys\": 0,"           \
	"\"deferred_topic\": \"invoice\", \"held_keys\": 5,"                                       \
	"\"shards_owned\": 1, \"peers\": {\"database\": {\"connected\": true, \"seconds\": 300,"   \
	"\"address\": \"db\"}, \"kafka\": {\"connected\": false, \"seconds\": 12,"                 \
	"\"address\": \"10.0.0.1:9092\"}}, \"relays\": [], \"operator_actions\": []}"
#define DATABASE                                                                                   \
	"\"depth\": 7, \"depth_exact\": true, \"oldest_age_seconds\": 61.5, \"dead_letters\": 2,"  \
	"\"dead_letters_by_reason\": {\"topic\": 2}, \"parked_keys\": 3,"                          \
	"\"parked_keys_by_reason\": {\"too_large\": 2, \"headers\": 1}, \"parked_events\": 10001," \
	"\"parked_oldest_age_seconds\": 7300, \"deferred_events\": 4,"                             \
	"\"relays\": [{\"application\": \"outbox-relay at web1\", \"pid\": 41, \"layout\": 2,"     \
	"\"shards\": [0, 1], \"abstains\": false}], \"operator_actions\": [{\"at\": \"2026\","     \
	"\"role\": \"ann\", \"action\": \"pause\", \"detail\": \"psql\"}]"

static const struct frame_history history = {{0, 3, 7}, {-1, 0, 1.5}, 3};

static char *drawn(const char *members, int rows, int columns, bool unicode)
{
	char *text = xasprintf("{\"outbox\": \"public.outbox\", \"time\": \"now\", %s}", members);
	json_t *seen = json_loads(text, 0, NULL);
	struct frame_shape shape = {rows, columns, unicode, false};
	char *frame;

	assert_non_null(seen);
	frame = frame_draw(seen, &history, &shape);
	json_decref(seen);
	free(text);
	return frame;
}

/* Between the escapes that draw it: at most so many lines, none of them as wide as the window, and
 * not a control in them. */
static void assert_fits(const char *frame, int rows, int columns)
{
	char *copy = xstrdup(frame), *line, *rest = copy;
	wchar_t wide[8192];
	int count = 0;

	assert_memory_equal(copy, "\x1b[H", 3);
	rest += 3;
	while ((line = strsep(&rest, "\n")) != NULL) {
		char *end = strstr(line, "\x1b[K");

		count++;
		assert_non_null(end);
		assert_true(strcmp(end, "\x1b[K\r") == 0 || strcmp(end, "\x1b[K\x1b[J") == 0);
		*end = '\0';
		assert_true(mbstowcs(wide, line, 8192) < 8192);
		for (const wchar_t *c = wide; *c; c++)
			assert_true(*c >= ' ' && wcwidth(*c) >= 0);
		assert_true(wcswidth(wide, 8192) < columns);
	}
	assert_true(count <= rows);
	free(copy);
}

static void test_sizes(void **state)
{
	static const int sizes[][2] = {{40, 40}, {50, 200}, {10, 80}, {10, 40}, {1, 30}, {24, 22}};

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		char *frame = drawn(RELAY "," DATABASE, sizes[i][0], sizes[i][1], true);

		assert_fits(frame, sizes[i][0], sizes[i][1]);
		free(frame);
	}
}

static void test_all_of_it(void **state)
{
	static const char *const words[] = {
	    "[x] In trouble",
	    "waits for Kafka",
	    "kafka_unreachable for 12 s: no broker of 10.0.0.1:9092 answers",
	    "see docs/runbooks/kafka-unreachable.md",
	    "7, oldest 62 s",
	    "\xe2\x96\x81\xe2\x96\x84\xe2\x96\x88",
	    "1.5/s, last minute 0.5/s",
	    " \xe2\x96\x81\xe2\x96\x88",
	    "no event in the last minute",
	    "[+] database connected for 5 min (db)",
	    "[x] Kafka unreachable for 12 s (10.0.0.1:9092)",
	    "owns 2 of 2 shards",
	    "dead letters   2 (topic 2)",
	    "parked keys    3 (too_large 2, headers 1); events: at least 10001, oldest: 2 h",
	    "for topics     4 for invoice, or others",
	    "held keys      5 behind events that cannot be removed",
	    "pause by ann"};
	char *frame = drawn(RELAY "," DATABASE, 50, 200, true);

	(void)state;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		assert_non_null(strstr(frame, words[i]));
	assert_null(strstr(frame, "more lines"));
	free(frame);
}

/* From below, and it says so: operators first, the state and what is wrong last. */
static void test_cut(void **state)
{
	char *frame = drawn(RELAY "," DATABASE, 10, 200, true);

	(void)state;
	assert_non_null(strstr(frame, "kafka-unreachable.md"));
	assert_non_null(strstr(frame, "7, oldest"));
	assert_null(strstr(frame, "pause by ann"));
	assert_non_null(strstr(frame, "more lines: enlarge the window"));
	free(frame);
}

static void test_without_relay(void **state)
{
	char *frame = drawn("\"relay\": null, \"relay_since\": \"12:00:00Z\", \"relay_error\": "
			    "\"connection refused\"," DATABASE,
			    40, 80, true);

	(void)state;
	assert_non_null(strstr(frame, "[?] No answer from a relay since 12:00:00Z"));
	assert_non_null(strstr(frame, "connection refused"));
	assert_non_null(strstr(frame, "7, oldest"));
	assert_null(strstr(frame, "latency"));
	free(frame);
}

static void test_without_database(void **state)
{
	char *frame =
	    drawn("\"database_error\": \"no route\", \"database_since\": \"12:00:00Z\"," RELAY, 40,
		  80, true);

	(void)state;
	assert_non_null(strstr(frame, "[x] Not asked since 12:00:00Z"));
	assert_non_null(strstr(frame, "7 in the shards of this relay"));
	free(frame);
}

static void test_hostile(void **state)
{
	char *frame = drawn("\"relay\": null, \"relay_error\": \"a\\u001b[2J\\u0007\\u009b2J"
			    "\\u202egnp\\nb\\u7532\\u7532\\u7532\\u7532\\u7532\\u7532\\u7532\","
			    "\"relay_since\": \"\"",
			    40, 40, true);

	(void)state;
	assert_fits(frame, 40, 40);
	assert_non_null(strstr(frame, "a\xef\xbf\xbd[2J\xef\xbf\xbd\xef\xbf\xbd"
				      "2J\xef\xbf\xbdgnp "));
	free(frame);
	frame =
	    drawn("\"relay\": null, \"relay_error\": \"\\u7532\\u001b\\u00e9!\"", 40, 40, false);
	assert_fits(frame, 40, 40);
	assert_non_null(strstr(frame, " ??"
				      "?"
				      "!"));
	free(frame);
}

/* A name without an end takes four lines and no more. */
static void test_endless(void **state)
{
	char *name = xstrdup(""), *members, *frame;
	size_t lines = 0;

	(void)state;
	for (int i = 0; i < 3000; i++)
		xappend(&name, "\xe7\x94\xb2");
	members = xasprintf("\"relay\": null, \"relay_error\": \"%s\"", name);
	frame = drawn(members, 40, 80, true);
	assert_fits(frame, 40, 80);
	for (const char *at = frame; (at = strchr(at, '\n')) != NULL; at++)
		lines++;
	assert_int_equal(lines, 5);
	assert_non_null(strstr(frame, "..."));
	free(frame);
	free(members);
	free(name);
}

static void test_group(void **state)
{
	static const char *const words[] = {
	    "r1, session 1: owns 2 of 4 shards",
	    "r2, session 2: standby",
	    "r3, session 3: [!] cannot reach Kafka, owns 0 of 4 shards",
	    "r4, session 4: publishes without order",
	    "[!] 1 of 2 shards",
	    "[!] relays count shards in different ways",
	    "[!] psql, session 5 (role bob): has locks of relays"};
	char *frame =
	    drawn("\"relay\": null, \"relays\": ["
		  "{\"application\": \"r1\", \"pid\": 1, \"layout\": 4, \"shards\": [0, 1]},"
		  "{\"application\": \"r2\", \"pid\": 2, \"layout\": 4, \"shards\": []},"
		  "{\"application\": \"r3\", \"pid\": 3, \"layout\": 4, \"shards\": [],"
		  "\"abstains\": true},"
		  "{\"application\": \"r4\", \"pid\": 4, \"layout\": 0, \"shards\": [0]}],"
		  "\"shards\": [{\"owner\": {}}, {\"owner\": null}], \"layouts\": [{}, {}],"
		  "\"strangers\": [{\"application\": \"psql\", \"pid\": 5, \"role\": \"bob\"}]",
		  40, 100, true);

	(void)state;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		assert_non_null(strstr(frame, words[i]));
	free(frame);
}

static void test_words(void **state)
{
	static const char *const words[][2] = {
	    {"\"standby\": \"\"", "[+] Publishing: nothing waits"},
	    {"\"standby\": \"\", \"batch_events\": 1", "[+] Publishing\x1b"},
	    {"\"standby\": \"others own all shards\"", "[o] Standby"},
	    {"\"paused\": true", "[!] Paused"},
	    {"\"halted\": true", "[x] Halted"},
	    {"\"problems\": [{\"name\": \"stuck\", \"ready\": true}]", "[x] In trouble"},
	    {"\"problems\": [{\"name\": \"dead_letters\", \"ready\": true}]",
	     "[!] Publishing, but: dead_letters"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		char *members = xasprintf("\"relay\": {%s}", words[i][0]);
		char *frame = drawn(members, 40, 80, true);

		assert_non_null(strstr(frame, words[i][1]));
		free(frame);
		free(members);
	}
}

static void test_colour(void **state)
{
	json_t *seen = json_loads("{" RELAY "}", 0, NULL);
	struct frame_shape shape = {40, 80, true, true};
	char *frame = frame_draw(seen, &history, &shape);

	(void)state;
	assert_non_null(strstr(frame, "\x1b[1;31mstate          [x] In trouble\x1b[m"));
	json_decref(seen);
	free(frame);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_sizes),
	    cmocka_unit_test(test_all_of_it),
	    cmocka_unit_test(test_cut),
	    cmocka_unit_test(test_without_relay),
	    cmocka_unit_test(test_without_database),
	    cmocka_unit_test(test_hostile),
	    cmocka_unit_test(test_endless),
	    cmocka_unit_test(test_colour),
	    cmocka_unit_test(test_words),
	    cmocka_unit_test(test_group),
	};

	if (!setlocale(LC_CTYPE, "C.UTF-8"))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
