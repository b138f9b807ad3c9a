/* SPDX-License-Identifier: ISC */
/*
 * test_log.c - log lines as they arrive on stderr: levels, hostile text, length, one write a line
 */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

/* stderr is one end of a socket that keeps the borders between writes. */
static int real_stderr = -1, other_end = -1;

static int setup(void **state)
{
	int ends[2];

	(void)state;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) != 0)
		return -1;
	real_stderr = dup(STDERR_FILENO);
	dup2(ends[0], STDERR_FILENO);
	close(ends[0]);
	other_end = ends[1];
	fcntl(other_end, F_SETFL, O_NONBLOCK);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	dup2(real_stderr, STDERR_FILENO);
	close(real_stderr);
	if (other_end >= 0)
		close(other_end);
	return 0;
}

/* The next write's bytes as a string; "" if there is none. */
static const char *written(void)
{
	static char text[16384];
	ssize_t len = recv(other_end, text, sizeof(text) - 1, 0);

	text[len > 0 ? len : 0] = '\0';
	return text;
}

/* Takes the time, which has the form 2026-11-21T07:42:00.123Z, off a text line. */
static const char *after_time(const char *line)
{
	static const char form[] = "dddd-dd-ddTdd:dd:dd.dddZ ";

	for (size_t i = 0; form[i] != '\0'; i++) {
		if (form[i] == 'd')
			assert_in_range(line[i], '0', '9');
		else
			assert_int_equal(line[i], form[i]);
	}
	return line + strlen(form);
}

/* The message of a JSON line, which must be strict JSON with exactly the three members. */
static char *json_message(const char *line)
{
	json_error_t problem;
	json_t *object = json_loads(line, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &problem);
	const char *message, *time, *level;
	char *copy;

	assert_non_null(object);
	assert_int_equal(json_object_size(object), 3);
	assert_int_equal(json_unpack(object, "{s:s, s:s, s:s}", "time", &time, "level", &level,
				     "message", &message),
			 0);
	assert_int_equal(strlen(time), 24);
	copy = strdup(message);
	json_decref(object);
	return copy;
}

static void test_text(void **state)
{
	(void)state;
	log_setup(LOG_DEBUG, LOG_TEXT);
	log_error("a %d", 1);
	assert_string_equal(after_time(written()), "error   a 1\n");
	log_warning("b");
	assert_string_equal(after_time(written()), "warning b\n");
	log_info("c");
	assert_string_equal(after_time(written()), "info    c\n");
	log_debug("d");
	assert_string_equal(after_time(written()), "debug   d\n");
	assert_string_equal(written(), "");
}

static void test_levels(void **state)
{
	(void)state;
	log_setup(LOG_WARNING, LOG_TEXT);
	assert_true(log_wants(LOG_ERROR));
	assert_true(log_wants(LOG_WARNING));
	assert_false(log_wants(LOG_INFO));
	log_info("not this");
	assert_string_equal(written(), "");
	log_warning("this");
	assert_string_equal(after_time(written()), "warning this\n");
	log_setup(LOG_ERROR, LOG_TEXT);
	log_warning("not this");
	assert_string_equal(written(), "");
}

static void test_text_cannot_forge_lines(void **state)
{
	(void)state;
	log_setup(LOG_INFO, LOG_TEXT);
	log_info("a\nb\rc\td\x1b[31m\x7f e\xc2\x9b \"q\" \\");
	assert_string_equal(after_time(written()), "info    a b c d [31m  e  \"q\" \\\n");
	log_info("%s", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80");
	assert_string_equal(after_time(written()),
			    "info    caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\n");
}

static void test_json_keeps_text(void **state)
{
	static const char message[] = "a\"b\\c/\n\r\t\b\f\x01\x1f\x7f \xc2\x85 caf\xc3\xa9 "
				      "\xe2\x82\xac \xf0\x9f\x98\x80 \xe2\x80\xa8";
	const char *line;
	char *back;

	(void)state;
	log_setup(LOG_INFO, LOG_JSON);
	log_warning("%s", message);
	line = written();
	assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
	assert_non_null(strstr(line, "\"level\":\"warning\""));
	back = json_message(line);
	assert_string_equal(back, message);
	free(back);
}

#define BAD "\xef\xbf\xbd"

static void test_bad_utf8_is_replaced(void **state)
{
	static const char *const samples[][2] = {
	    {"x\xff y", "x" BAD " y"},
	    {"\x80", BAD},
	    {"\xc3", BAD},			   /* cut off */
	    {"\xe2\x82", BAD BAD},		   /* cut off */
	    {"\xe2\x82\"", BAD BAD "\""},	   /* must not swallow the quote */
	    {"\xc0\xaf", BAD BAD},		   /* overlong */
	    {"\xe0\x80\xaf", BAD BAD BAD},	   /* overlong */
	    {"\xf0\x80\x80\xaf", BAD BAD BAD BAD}, /* overlong */
	    {"\xed\xa0\x80", BAD BAD BAD},	   /* a surrogate */
	    {"\xf4\x90\x80\x80", BAD BAD BAD BAD}, /* beyond U+10FFFF */
	    {"\xf8\x88\x80\x80\x80", BAD BAD BAD BAD BAD},
	};

	(void)state;
	log_setup(LOG_INFO, LOG_JSON);
	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
		char *back;

		log_info("%s", samples[i][0]);
		back = json_message(written());
		assert_string_equal(back, samples[i][1]);
		free(back);
	}
}

/* The last three characters of the message, which is checked to be whole characters. */
static void check_end(const char *line, enum log_format format)
{
	const char *tail = format == LOG_JSON ? "...\"}\n" : "...\n";
	size_t len = strlen(line);
	bool cut = strcmp(line + len - strlen(tail), tail) == 0;

	assert_in_range(len, 20, 4096);
	if (format == LOG_JSON)
		free(json_message(line));
	/* In between it depends on how long the last character is. */
	if (len < 4091)
		assert_false(cut);
	if (len > 4093)
		assert_true(cut);
}

/* Messages of the unit repeated, of many lengths. */
static void check_lengths(enum log_format format, const char *unit)
{
	static char message[20000];
	size_t unit_len = strlen(unit);

	log_setup(LOG_INFO, format);
	for (size_t len = 0; len + unit_len < 12000; len += unit_len) {
		memcpy(message + len, unit, unit_len + 1);
		if (len > 4500 && len % 500 >= unit_len)
			continue;
		log_info("%s", message);
		check_end(written(), format);
		assert_string_equal(written(), "");
	}
}

static void test_length_is_bounded(void **state)
{
	static const char *const units[] = {
	    "a", "\"", "\x01", "\xc3\xa9", "\xf0\x9f\x98\x80", "\xff", "\xc2\x85"};

	(void)state;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		check_lengths(LOG_TEXT, units[i]);
		check_lengths(LOG_JSON, units[i]);
	}
}

static void test_longest_line(void **state)
{
	char message[9000];
	const char *line;

	(void)state;
	memset(message, 'x', sizeof(message) - 1);
	message[sizeof(message) - 1] = '\0';
	log_setup(LOG_INFO, LOG_TEXT);
	log_info("%s", message);
	line = written();
	assert_int_equal(strlen(line), 4096);
	assert_string_equal(line + 4096 - 6, "xx...\n");
}

/* Control characters of two bytes become one blank each: the line has room for all of a message
 * that is longer than itself. */
static void test_shrinking_message_is_whole(void **state)
{
	char message[2 * 3000 + 4];
	const char *line;

	(void)state;
	for (size_t i = 0; i < 3000; i++)
		memcpy(message + 2 * i, "\xc2\x85", 2);
	memcpy(message + sizeof(message) - 4, "end", 4);
	log_setup(LOG_INFO, LOG_TEXT);
	log_info("%s", message);
	line = written();
	assert_int_equal(strlen(after_time(line)), strlen("info    ") + 3000 + strlen("end\n"));
	assert_string_equal(line + strlen(line) - 4, "end\n");
}

/* ---- fields ---- */

/* The line as JSON, which must be strict. */
static json_t *json_line(const char *line)
{
	json_error_t problem;
	json_t *object = json_loads(line, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &problem);

	assert_non_null(object);
	return object;
}

static const char *member(const json_t *object, const char *name)
{
	return json_string_value(json_object_get(object, name));
}

static void test_fields(void **state)
{
	json_t *object;

	(void)state;
	log_setup(LOG_INFO, LOG_JSON);
	log_about("sh\"op", "public.outbox_events");
	log_fact(LOG_ERROR, "event_rejected",
		 LOG_FIELDS(field_number("id", INT64_MAX), field_text("topic", "a\"\n\xff"),
			    field_slice("event_id", (struct slice){"12345", 3}),
			    field_text("sqlstate", ""), field_text("shard", NULL),
			    field_hash("key_hash", slice_of("foobar")),
			    field_hash("none", SLICE_NULL),
			    field_seconds("outage_seconds", 12345678)),
		 "event %d", 1);
	object = json_line(written());
	assert_string_equal(member(object, "message"), "event 1");
	assert_string_equal(member(object, "database"), "sh\"op");
	assert_string_equal(member(object, "outbox"), "public.outbox_events");
	assert_string_equal(member(object, "code"), "event_rejected");
	assert_string_equal(member(object, "topic"), "a\"\n" BAD);
	assert_string_equal(member(object, "event_id"), "123");
	assert_string_equal(member(object, "key_hash"), "85944171f73967e8"); /* FNV's test vector */
	assert_true(json_integer_value(json_object_get(object, "id")) == INT64_MAX);
	assert_true(json_real_value(json_object_get(object, "outage_seconds")) > 12.345);
	assert_int_equal(json_object_size(object), 11);
	json_decref(object);
	log_info("of every line");
	object = json_line(written());
	assert_string_equal(member(object, "outbox"), "public.outbox_events");
	assert_int_equal(json_object_size(object), 5);
	json_decref(object);
	log_fact(LOG_DEBUG, "not_this", NULL, "not this");
	assert_string_equal(written(), "");
	log_about("", "");
}

static void test_fields_are_not_in_text(void **state)
{
	(void)state;
	log_setup(LOG_INFO, LOG_TEXT);
	log_fact(LOG_WARNING, "topic_missing", LOG_FIELDS(field_text("topic", "t")), "topic %s",
		 "t");
	assert_string_equal(after_time(written()), "warning topic t\n");
}

/* The message is cut first; a field that has no room is left out, and those behind it stay. */
static void test_fields_are_whole(void **state)
{
	static char message[9000], value[3000];

	(void)state;
	log_setup(LOG_INFO, LOG_JSON);
	memset(message, 'm', sizeof(message) - 1);
	for (size_t len = 1; len < sizeof(value); len += 37) {
		const char *line;
		json_t *object;

		memset(value, '"', len);
		value[len] = '\0';
		log_fact(LOG_INFO, "long",
			 LOG_FIELDS(field_text("value", value), field_number("id", 7)), "%s",
			 message);
		line = written();
		assert_in_range(strlen(line), 2000, 4096);
		object = json_line(line);
		assert_int_equal(json_integer_value(json_object_get(object, "id")), 7);
		if (member(object, "value") != NULL)
			assert_string_equal(member(object, "value"), value);
		assert_int_equal(member(object, "value") != NULL, len < 1020);
		json_decref(object);
	}
}

static void check_sqlstate(const char *words, const char *expected)
{
	struct log_field field = field_sqlstate(words);
	struct slice state = slice_of(expected);

	assert_int_equal(field.text.len, state.len);
	if (state.len > 0)
		assert_memory_equal(field.text.data, state.data, state.len);
}

static void test_sqlstate(void **state)
{
	(void)state;
	check_sqlstate("SQLSTATE 42P01: relation does not exist", "42P01");
	check_sqlstate("cannot connect to the database: connection to server at \"::1\", port 1 "
		       "failed: FATAL:  28P01: password authentication failed",
		       "28P01");
	check_sqlstate("connection refused", "");
	check_sqlstate("SQLSTATE 42P0", "");
	check_sqlstate("SQLSTATE 42p01: x", "");
	check_sqlstate("it said:  HELLO there", "");
	check_sqlstate("", "");
}

static void set_stream(int off)
{
	char stream[80];
	struct stat there;

	assert_int_equal(fstat(STDERR_FILENO, &there), 0);
	snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)there.st_dev,
		 (unsigned long long)there.st_ino + (unsigned long long)off);
	setenv("JOURNAL_STREAM", stream, 1);
}

/* Only where stderr is the very stream that the environment names. */
static void test_priority_for_the_journal(void **state)
{
	const char *line;

	(void)state;
	set_stream(1);
	log_setup(LOG_DEBUG, LOG_TEXT);
	log_info("a file");
	assert_string_equal(after_time(written()), "info    a file\n");
	set_stream(0);
	log_setup(LOG_DEBUG, LOG_TEXT);
	log_error("a");
	line = written();
	assert_memory_equal(line, "<3>", 3);
	assert_string_equal(after_time(line + 3), "error   a\n");
	log_warning("b");
	assert_memory_equal(written(), "<4>", 3);
	log_info("c");
	assert_memory_equal(written(), "<6>", 3);
	log_debug("d");
	assert_memory_equal(written(), "<7>", 3);
	log_setup(LOG_DEBUG, LOG_JSON);
	log_warning("e");
	line = written();
	assert_memory_equal(line, "<4>{", 4);
	json_decref(json_line(line + 3));
	setenv("JOURNAL_STREAM", "rubbish", 1);
	log_setup(LOG_DEBUG, LOG_TEXT);
	log_info("f");
	assert_string_equal(after_time(written()), "info    f\n");
	unsetenv("JOURNAL_STREAM");
	log_setup(LOG_DEBUG, LOG_TEXT);
}

static void test_errno_survives(void **state)
{
	(void)state;
	log_setup(LOG_INFO, LOG_TEXT);
	errno = ENOENT;
	log_info("open it: %m");
	assert_int_equal(errno, ENOENT);
	assert_string_equal(after_time(written()), "info    open it: No such file or directory\n");
	/* Nobody reads: the line is lost, and nothing else happens. */
	close(STDERR_FILENO);
	log_info("into the void");
	assert_int_equal(errno, ENOENT);
}

enum { SECOND = 1000 * 1000, EVERY = 10 * SECOND };

static void test_the_first_is_written(void **state)
{
	struct log_limit limit = {0};

	(void)state;
	assert_true(log_limit_due(&limit, 5, EVERY));
	assert_string_equal(limit.note, "");
}

static void test_repetitions_are_counted(void **state)
{
	struct log_limit limit = {0};

	(void)state;
	assert_true(log_limit_due(&limit, SECOND, EVERY));
	assert_false(log_limit_due(&limit, SECOND, EVERY));
	assert_false(log_limit_due(&limit, 2 * SECOND, EVERY));
	assert_false(log_limit_due(&limit, SECOND + EVERY - 1, EVERY));
	assert_true(log_limit_due(&limit, SECOND + EVERY, EVERY));
	assert_string_equal(limit.note, " (3 similar messages suppressed)");
	assert_true(log_limit_due(&limit, SECOND + 2 * EVERY, EVERY));
	assert_string_equal(limit.note, "");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_text),
	    TEST(test_levels),
	    TEST(test_text_cannot_forge_lines),
	    TEST(test_json_keeps_text),
	    TEST(test_bad_utf8_is_replaced),
	    TEST(test_length_is_bounded),
	    TEST(test_longest_line),
	    TEST(test_shrinking_message_is_whole),
	    TEST(test_fields),
	    TEST(test_fields_are_not_in_text),
	    TEST(test_fields_are_whole),
	    TEST(test_sqlstate),
	    TEST(test_priority_for_the_journal),
	    TEST(test_errno_survives),
	    cmocka_unit_test(test_the_first_is_written),
	    cmocka_unit_test(test_repetitions_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
