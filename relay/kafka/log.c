/*
 * log.c - what librdkafka says, as lines of our log, without its repetitions
 */
#include "base/log.h"
#include "base/clock.h"
#include "internal.h"

enum { FACILITIES = 16, QUIET_US = 10 * 1000 * 1000 };

/* librdkafka repeats itself with changing figures, so repeats are known by the facility ("FAIL").
 * The producer's lines are events of the loop's; the embedded broker's come from its own threads.
 */
static _Thread_local struct {
	char facility[24];
	struct log_limit limit;
} said[FACILITIES];

/* Warnings of what is intended: docs/design.md says why. */
static const char *const intended[] = {
    "enable.gapless.guarantee is experimental",
    "Gap-less ordering would not be guaranteed", /* follows a refusal, which is reported */
    "No `bootstrap.servers` configured",	 /* by the embedded broker's own handle */
};

bool kafka_is_closed(const char *reason)
{
	return strstr(reason, "security.protocol") == NULL &&
	       strstr(reason, "SSL handshake") == NULL &&
	       (strstr(reason, "Send failed") != NULL || strstr(reason, "Receive failed") != NULL ||
		strstr(reason, "Disconnected") != NULL);
}

static bool is_intended(const char *text)
{
	for (size_t i = 0; i < sizeof(intended) / sizeof(intended[0]); i++)
		if (strstr(text, intended[i]) != NULL)
			return true;
	return false;
}

static enum log_level level_of(int syslog_level)
{
	if (syslog_level <= 2)
		return LOG_ERROR;
	if (syslog_level <= 5)
		return LOG_WARNING; /* a broker that is unreachable is no error of ours */
	return syslog_level == 6 ? LOG_INFO : LOG_DEBUG;
}

static struct log_limit *limit_of(const char *facility)
{
	size_t oldest = 0;

	for (size_t i = 0; i < FACILITIES; i++) {
		if (strncmp(said[i].facility, facility, sizeof(said[i].facility) - 1) == 0)
			return &said[i].limit;
		if (said[i].limit.written_us < said[oldest].limit.written_us)
			oldest = i;
	}
	memset(&said[oldest], 0, sizeof(said[oldest]));
	strncpy(said[oldest].facility, facility, sizeof(said[oldest].facility) - 1);
	return &said[oldest].limit;
}

void kafka_log(int level, const char *facility, const char *text)
{
	enum log_level ours = is_intended(text) ? LOG_DEBUG : level_of(level);
	struct log_limit *limit;

	if (!log_wants(ours))
		return;
	if (ours == LOG_DEBUG) { /* asked for by log.level and the property "debug": all of it */
		log_debug("kafka: %s: %s", facility, text);
		return;
	}
	limit = limit_of(facility);
	if (log_limit_due(limit, clock_monotonic_us(), QUIET_US))
		log_line(ours, "kafka: %s: %s%s", facility, text, limit->note);
}

void kafka_log_event(rd_kafka_event_t *event)
{
	const char *facility, *text;
	int level;

	if (rd_kafka_event_log(event, &facility, &text, &level) == 0)
		kafka_log(level, facility, text);
}
