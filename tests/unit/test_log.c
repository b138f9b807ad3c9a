/*
 * test_log.c - log lines as they arrive on stderr: levels, hostile text, length, one write a line
 */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
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
	assert_string_equal(after_time(written()), "error a 1\n");
	log_warning("b");
	assert_string_equal(after_time(written()), "warn  b\n");
	log_info("c");
	assert_string_equal(after_time(written()), "info  c\n");
	log_debug("d");
	assert_string_equal(after_time(written()), "debug d\n");
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
	assert_string_equal(after_time(written()), "warn  this\n");
	log_setup(LOG_ERROR, LOG_TEXT);
	log_warning("not this");
	assert_string_equal(written(), "");
}

static void test_text_cannot_forge_lines(void **state)
{
	(void)state;
	log_setup(LOG_INFO, LOG_TEXT);
	log_info("a\nb\rc\td\x1b[31m\x7f e\xc2\x9b \"q\" \\");
	assert_string_equal(after_time(written()), "info  a b c d [31m  e  \"q\" \\\n");
	log_info("%s", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80");
	assert_string_equal(after_time(written()),
			    "info  caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\n");
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
	assert_non_null(strstr(line, "\"level\":\"warn\""));
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
	assert_int_equal(strlen(after_time(line)), strlen("info  ") + 3000 + strlen("end\n"));
	assert_string_equal(line + strlen(line) - 4, "end\n");
}

static void test_errno_survives(void **state)
{
	(void)state;
	log_setup(LOG_INFO, LOG_TEXT);
	errno = ENOENT;
	log_info("open it: %m");
	assert_int_equal(errno, ENOENT);
	assert_string_equal(after_time(written()), "info  open it: No such file or directory\n");
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
	    TEST(test_errno_survives),
	    cmocka_unit_test(test_the_first_is_written),
	    cmocka_unit_test(test_repetitions_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
