/*
 * log.c - one line per fact, as text or JSON: never fails, never more than one write(2) a line
 */
#include "base/log.h"

#include "base/clock.h"
#include "base/text.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* With the newline. Not more than PIPE_BUF, so that lines of several threads do not mix in a pipe.
 */
enum { LINE_LIMIT = 4096 };

static const char ELLIPSIS[] = "...";
static const char *const LEVEL_NAMES[] = {"error", "warn", "info", "debug"};

static _Atomic int log_level = LOG_INFO;
static _Atomic int log_format = LOG_TEXT;

struct line {
	char text[LINE_LIMIT];
	size_t used;
};

void log_setup(enum log_level level, enum log_format format)
{
	atomic_store(&log_level, (int)level);
	atomic_store(&log_format, (int)format);
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

static void build(struct line *line, enum log_level level, enum log_format format,
		  const char *message)
{
	const char *tail = format == LOG_JSON ? "\"}\n" : "\n";
	char now[40];
	char head[96];

	format_time(now, sizeof(now));
	snprintf(head, sizeof(head),
		 format == LOG_JSON ? "{\"time\":\"%s\",\"level\":\"%s\",\"message\":\""
				    : "%s %-5s ",
		 now, LEVEL_NAMES[level]);
	put_string(line, head);
	put_message(line, message, format, strlen(tail));
	put_string(line, tail);
}

void log_line(enum log_level level, const char *format, ...)
{
	/* Twice a line: no character shrinks to less than half, so whatever vsnprintf cuts off is
	 * beyond what put_message takes, and is marked there. */
	char message[2 * LINE_LIMIT];
	struct line line;
	int saved_errno = errno;
	va_list args;

	if (!log_wants(level))
		return;
	va_start(args, format);
	if (vsnprintf(message, sizeof(message), format, args) < 0)
		snprintf(message, sizeof(message), "%s", format);
	va_end(args);
	line.used = 0;
	build(&line, level, (enum log_format)atomic_load(&log_format), message);
	while (write(STDERR_FILENO, line.text, line.used) < 0 && errno == EINTR)
		;
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
