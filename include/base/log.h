/* SPDX-License-Identifier: ISC */
/*
 * log.h - one line per fact, to stderr, as text or as JSON
 *
 * Text:  2026-11-21T07:42:00.123Z warning message
 * JSON:  {"time":"...","level":"warning","message":"...","outbox":"...","code":"...", fields}
 *
 * A text line is its sentence alone, so the sentence says all that a person needs. The fields
 * repeat for a program what the sentence says. Where stderr is systemd's journal, a line begins
 * with its priority, "<4>", which the journal takes off (sd-daemon(3)).
 *
 * Thread: any (a line is written with one write(2)).
 */
#ifndef OUTBOX_LOG_H
#define OUTBOX_LOG_H

#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_TEXT, LOG_JSON };

/* May be called again at any time (reload). Until it is called: level info, text. */
void log_setup(enum log_level level, enum log_format format);

/* What every line is about: fields of each JSON line from now on. Copies. Thread: main, before
 * there is a second one. */
void log_about(const char *database, const char *outbox);

/* True if a line of this level would be written: for callers whose arguments cost something. */
bool log_wants(enum log_level level);

/* ---- a sentence ---- */

void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...)	 log_line(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_info(...)	 log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...)	 log_line(LOG_DEBUG, __VA_ARGS__)

/* ---- a sentence with fields ---- */

/* Borrows its text until the line is written. Made by the functions below. */
struct log_field {
	const char *name; /* NULL: the end of a list */
	struct slice text;
	int64_t number;
	enum { LOG_FIELD_TEXT, LOG_FIELD_HASH, LOG_FIELD_NUMBER, LOG_FIELD_SECONDS } kind;
};

/* NULL and "" say nothing: the field is left out. */
struct log_field field_text(const char *name, const char *text);
struct log_field field_slice(const char *name, struct slice text);
/* Of text that is not to be shown: lines about the same text have the same. FNV-1a, 16 hex digits.
 */
struct log_field field_hash(const char *name, struct slice text);
/* A JSON number; may be beyond 2^53. */
struct log_field field_number(const char *name, int64_t number);
/* Microseconds, as a JSON number of seconds. */
struct log_field field_seconds(const char *name, int64_t microseconds);
/* "sqlstate", if the words of an error of the server's hold one: "SQLSTATE 42P01: ...", or libpq's
 * "FATAL:  28P01: ..." of a connection that did not come about. */
struct log_field field_sqlstate(const char *words);

/* One to several fields. */
#define LOG_FIELDS(...) ((const struct log_field[]){__VA_ARGS__, {.name = NULL}})

/* code names the fact for programs and never changes ("database_lost"); docs/logs.md lists them
 * all. fields is NULL or LOG_FIELDS. What the line has no room for is cut off the message first;
 * then whole fields are left out. */
void log_fact(enum log_level level, const char *code, const struct log_field *fields,
	      const char *format, ...) __attribute__((format(printf, 4, 5)));

/* ---- of a message that may repeat ---- */

/* Zeroed, it has written nothing yet. Thread: that of the owner. */
struct log_limit {
	int64_t written_us;
	unsigned suppressed; /* since then */
	char note[48];	     /* " (3 similar messages suppressed)", or "" */
};

/* True if the message is to be written now: the first one, or the first after every_us. The note is
 * then its end. now_us is of the monotonic clock. */
bool log_limit_due(struct log_limit *limit, int64_t now_us, int64_t every_us);

#endif
