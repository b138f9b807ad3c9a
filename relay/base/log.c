/* SPDX-License-Identifier: ISC */
/*
 * log.c - one line per fact, as text or JSON: never fails, never more than one write(2) a line
 */
#include "base/log.h"

#include "base/clock.h"
#include "base/text.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* With the newline. Not more than PIPE_BUF, so that lines of several threads do not mix in a pipe.
 */
enum { LINE_LIMIT = 4096, FIELDS_LIMIT = 2048 };

static const char ELLIPSIS[] = "...";
/* As log.level has them, and syslog's numbers of them. */
static const struct {
	const char *name;
	int priority;
} LEVELS[] = {{"error", 3}, {"warning", 4}, {"info", 6}, {"debug", 7}};

static _Atomic int log_level = LOG_INFO;
static _Atomic int log_format = LOG_TEXT;
static _Atomic bool log_to_journal;

struct line {
	char text[LINE_LIMIT];
	size_t used;
};

static struct log_field about_database, about_outbox;

/* The environment names the journal's end of a stream, which stderr may no longer be
 * (systemd.exec(5), $JOURNAL_STREAM). */
static bool is_journal(int fd)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat there;

	return stream != NULL && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
	       fstat(fd, &there) == 0 && there.st_dev == device && there.st_ino == inode;
}

void log_setup(enum log_level level, enum log_format format)
{
	atomic_store(&log_level, (int)level);
	atomic_store(&log_format, (int)format);
	atomic_store(&log_to_journal, is_journal(STDERR_FILENO));
}

void log_about(const char *database, const char *outbox)
{
	static char database_text[256], outbox_text[256];

	text_print(database_text, sizeof(database_text), "%s", database);
	text_print(outbox_text, sizeof(outbox_text), "%s", outbox);
	about_database = field_text("database", database_text);
	about_outbox = field_text("outbox", outbox_text);
}

bool log_wants(enum log_level level)
{
	return (int)level <= atomic_load_explicit(&log_level, memory_order_relaxed);
}

static void put(struct line *line, const char *bytes, size_t len)
{
	assert(line->used + len <= LINE_LIMIT);
	memcpy(line->text + line->used, bytes, len);
	line->used += len;
}

static void put_string(struct line *line, const char *text)
{
	put(line, text, strlen(text));
}

/* Writes the character at s (of len bytes, not well-formed if 0) as the format wants it. */
static size_t encode(char out[8], const unsigned char *s, size_t len, enum log_format format)
{
	bool control = text_is_control((const char *)s, len);

	if (len == 0)
		return (size_t)snprintf(out, 8, "\xef\xbf\xbd");
	if (control && format == LOG_TEXT)
		return (size_t)snprintf(out, 8, " ");
	if (control)
		return (size_t)snprintf(out, 8, "\\u%04x", len == 2 ? s[1] : s[0]);
	if (format == LOG_JSON && (*s == '"' || *s == '\\'))
		return (size_t)snprintf(out, 8, "\\%c", *s);
	memcpy(out, s, len);
	return len;
}

/* Adds the message, leaving room for what must follow it. */
static void put_message(struct line *line, const char *message, enum log_format format, size_t tail)
{
	const unsigned char *s = (const unsigned char *)message;
	size_t limit = LINE_LIMIT - tail - strlen(ELLIPSIS);

	while (*s != '\0') {
		char out[8];
		size_t len = text_character((const char *)s, 4);
		size_t out_len = encode(out, s, len, format);

		if (line->used + out_len > limit) {
			put_string(line, ELLIPSIS);
			return;
		}
		put(line, out, out_len);
		s += len ? len : 1;
	}
}

static void format_time(char *out, size_t size)
{
	int64_t now = clock_realtime_us();
	time_t seconds = (time_t)(now / 1000000);
	struct tm tm;
	size_t used;

	gmtime_r(&seconds, &tm);
	used = strftime(out, size, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out + used, size - used, ".%03dZ", (int)(now / 1000 % 1000));
}

/* ---- fields ---- */

struct log_field field_slice(const char *name, struct slice text)
{
	return (struct log_field){.name = name, .text = text, .kind = LOG_FIELD_TEXT};
}

struct log_field field_text(const char *name, const char *text)
{
	return field_slice(name, slice_of(text));
}

struct log_field field_hash(const char *name, struct slice text)
{
	return text.data == NULL ? field_text(name, NULL)
				 : (struct log_field){.name = name,
						      .number = (int64_t)slice_hash(text),
						      .kind = LOG_FIELD_HASH};
}

struct log_field field_number(const char *name, int64_t number)
{
	return (struct log_field){.name = name, .number = number, .kind = LOG_FIELD_NUMBER};
}

struct log_field field_seconds(const char *name, int64_t microseconds)
{
	return (struct log_field){.name = name, .number = microseconds, .kind = LOG_FIELD_SECONDS};
}

/* Five characters of a SQLSTATE, and a colon. */
static bool is_state(const char *text)
{
	return strspn(text, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 5 && text[5] == ':';
}

struct log_field field_sqlstate(const char *words)
{
	static const char *const before[] = {"SQLSTATE ", ":  "};

	for (size_t i = 0; i < sizeof(before) / sizeof(before[0]); i++) {
		const char *at = strstr(words, before[i]);

		if (at != NULL && is_state(at + strlen(before[i])))
			return field_slice("sqlstate", (struct slice){at + strlen(before[i]), 5});
	}
	return field_text("sqlstate", NULL);
}

static bool put_within(struct line *line, const char *bytes, size_t len)
{
	if (line->used + len > FIELDS_LIMIT)
		return false;
	put(line, bytes, len);
	return true;
}

static bool put_value(struct line *line, struct slice text)
{
	for (size_t i = 0; i < text.len;) {
		char out[8];
		size_t len = text_character(text.data + i, text.len - i);
		size_t encoded = encode(out, (const unsigned char *)text.data + i, len, LOG_JSON);

		if (!put_within(line, out, encoded))
			return false;
		i += len ? len : 1;
	}
	return put_within(line, "\"", 1);
}

/* All of it, or nothing. */
static void put_field(struct line *line, const struct log_field *field)
{
	size_t before = line->used;
	char head[96];
	bool text = field->kind == LOG_FIELD_TEXT;
	int64_t n = field->number;

	if (text && field->text.len == 0)
		return;
	if (text)
		snprintf(head, sizeof(head), ",\"%s\":\"", field->name);
	else if (field->kind == LOG_FIELD_HASH)
		snprintf(head, sizeof(head), ",\"%s\":\"%016" PRIx64 "\"", field->name,
			 (uint64_t)n);
	else if (field->kind == LOG_FIELD_NUMBER)
		snprintf(head, sizeof(head), ",\"%s\":%" PRId64, field->name, n);
	else
		snprintf(head, sizeof(head), ",\"%s\":%.3f", field->name, (double)n / 1e6);
	if (!put_within(line, head, strlen(head)) || (text && !put_value(line, field->text)))
		line->used = before;
}

/* Of a JSON line: all that follows the message. */
static void put_fields(struct line *line, const char *code, const struct log_field *fields)
{
	const struct log_field coded = field_text("code", code);

	put_string(line, "\"");
	put_field(line, &about_database);
	put_field(line, &about_outbox);
	put_field(line, &coded);
	for (; fields != NULL && fields->name != NULL; fields++)
		put_field(line, fields);
	put_string(line, "}");
}

/* ---- lines ---- */

static void put_head(struct line *line, enum log_level level, enum log_format format)
{
	char now[40];
	char head[96];

	if (atomic_load(&log_to_journal)) {
		snprintf(head, sizeof(head), "<%d>", LEVELS[level].priority);
		put_string(line, head);
	}
	format_time(now, sizeof(now));
	snprintf(head, sizeof(head),
		 format == LOG_JSON ? "{\"time\":\"%s\",\"level\":\"%s\",\"message\":\""
				    : "%s %-7s ",
		 now, LEVELS[level].name);
	put_string(line, head);
}

/* Twice a line: no character shrinks to less than half, so whatever vsnprintf cuts off is beyond
 * what put_message takes, and is marked there. */
enum { MESSAGE_LIMIT = 2 * LINE_LIMIT };

static void write_line(enum log_level level, const char *code, const struct log_field *fields,
		       const char *words, va_list args)
{
	char message[MESSAGE_LIMIT];
	struct line line = {.used = 0}, tail = {.used = 0};
	enum log_format format = (enum log_format)atomic_load(&log_format);

	if (vsnprintf(message, sizeof(message), words, args) < 0)
		snprintf(message, sizeof(message), "%s", words);
	if (format == LOG_JSON)
		put_fields(&tail, code, fields);
	put_string(&tail, "\n");
	put_head(&line, level, format);
	put_message(&line, message, format, tail.used);
	put(&line, tail.text, tail.used);
	while (write(STDERR_FILENO, line.text, line.used) < 0 && errno == EINTR)
		;
}

void log_line(enum log_level level, const char *format, ...)
{
	int saved_errno = errno;
	va_list args;

	if (!log_wants(level))
		return;
	va_start(args, format);
	write_line(level, NULL, NULL, format, args);
	va_end(args);
	errno = saved_errno;
}

void log_fact(enum log_level level, const char *code, const struct log_field *fields,
	      const char *format, ...)
{
	int saved_errno = errno;
	va_list args;

	if (!log_wants(level))
		return;
	va_start(args, format);
	write_line(level, code, fields, format, args);
	va_end(args);
	errno = saved_errno;
}

bool log_limit_due(struct log_limit *limit, int64_t now_us, int64_t every_us)
{
	if (limit->written_us != 0 && now_us - limit->written_us < every_us) {
		limit->suppressed++;
		return false;
	}
	limit->note[0] = '\0';
	if (limit->suppressed > 0)
		snprintf(limit->note, sizeof(limit->note), " (%u similar messages suppressed)",
			 limit->suppressed);
	limit->written_us = now_us;
	limit->suppressed = 0;
	return true;
}
