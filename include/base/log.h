/*
 * log.h - one line per fact, to stderr, as text or as JSON
 *
 * Text:  2026-11-21T07:42:00.123Z info  message
 * JSON:  {"time":"...","level":"info","message":"..."}
 * Thread: any (a line is written with one write(2)).
 */
#ifndef OUTBOX_LOG_H
#define OUTBOX_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_TEXT, LOG_JSON };

/* May be called again at any time (reload). Until it is called: level info, text. */
void log_setup(enum log_level level, enum log_format format);

/* True if a line of this level would be written: for callers whose arguments cost something. */
bool log_wants(enum log_level level);

void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...)	 log_line(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_info(...)	 log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...)	 log_line(LOG_DEBUG, __VA_ARGS__)

/* Of a message that may repeat. Zeroed, it has written nothing yet. Thread: that of the owner. */
struct log_limit {
	int64_t written_us;
	unsigned suppressed; /* since then */
	char note[48];	     /* " (3 similar messages suppressed)", or "" */
};

/* True if the message is to be written now: the first one, or the first after every_us. The note is
 * then its end. now_us is of the monotonic clock. */
bool log_limit_due(struct log_limit *limit, int64_t now_us, int64_t every_us);

#endif
