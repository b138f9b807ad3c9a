/* SPDX-License-Identifier: ISC */
/*
 * log.c - what librdkafka says, as lines of our log, without its repetitions
 */
#include "base/log.h"
#include "base/clock.h"
#include "base/text.h"
#include "internal.h"

enum { KINDS = 64 };

/* librdkafka repeats itself with changing figures, so repeats are known by facility ("FAIL") and
 * broker, and are written ever less often while they go on, from every 10 s to every 10 minutes.
 * The producer's lines are events of the loop's; the embedded broker's come from its own threads.
 */
static const int64_t first_us = INT64_C(10) * 1000 * 1000, last_us = INT64_C(600) * 1000 * 1000;
static const int64_t silent_us = INT64_C(60) * 1000 * 1000;
static _Thread_local struct said {
	char kind[96]; /* facility and broker */
	struct log_limit limit;
	int64_t every_us, seen_us;
} said[KINDS];

/* Warnings of what is intended: docs/design.md says why. */
static const char *const intended[] = {
    "enable.gapless.guarantee is experimental",
    "Gap-less ordering would not be guaranteed", /* follows a refusal, which is reported */
    /* what an earlier producer of the id had begun is being ended */
    "another concurrent operation on the same transaction was ongoing: retrying",
    "No `bootstrap.servers` configured", /* by the embedded broker's own handle */
};

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

static struct said *said_of(const char *kind)
{
	size_t oldest = 0;

	for (size_t i = 0; i < KINDS; i++) {
		if (strcmp(said[i].kind, kind) == 0)
			return &said[i];
		if (said[i].limit.written_us < said[oldest].limit.written_us)
			oldest = i;
	}
	said[oldest] = (struct said){.seen_us = 0};
	text_print(said[oldest].kind, sizeof(said[oldest].kind), "%s", kind);
	return &said[oldest];
}

/* librdkafka counts identical errors by itself and writes them every 30 s. */
static bool is_due(struct said *of)
{
	int64_t now = clock_monotonic_us();
	bool goes_on = of->seen_us != 0 && now - of->seen_us < silent_us;

	of->seen_us = now;
	if (!goes_on)
		of->every_us = first_us;
	if (!log_limit_due(&of->limit, now, of->every_us))
		return false;
	if (goes_on)
		of->every_us = 2 * of->every_us < last_us ? 2 * of->every_us : last_us;
	return true;
}

/* The name of the thread is that of its broker: "[thrd:sasl_ssl://host:9092/1]: ...". */
static struct slice broker_of(const char *text)
{
	static const char before[] = "[thrd:";
	const char *begin = text + sizeof(before) - 1, *end, *colon;

	if (strncmp(text, before, sizeof(before) - 1) != 0 || (end = strstr(begin, "]: ")) == NULL)
		return SLICE_NULL;
	colon = memchr(begin, ':', (size_t)(end - begin));
	return colon != NULL ? (struct slice){begin, (size_t)(end - begin)} : SLICE_NULL;
}

static struct said *said_by(const char *facility, struct slice broker)
{
	char kind[sizeof(said[0].kind)];

	text_print(kind, sizeof(kind), "%s %.*s", facility, (int)broker.len,
		   broker.len > 0 ? broker.data : "");
	return said_of(kind);
}

void kafka_log(int level, const char *facility, const char *text)
{
	enum log_level ours = is_intended(text) ? LOG_DEBUG : level_of(level);
	struct slice broker = broker_of(text);
	struct said *of;

	if (!log_wants(ours))
		return;
	/* What is asked for by log.level and the property "debug" is written, all of it. */
	of = ours == LOG_DEBUG ? NULL : said_by(facility, broker);
	if (of != NULL && !is_due(of))
		return;
	log_fact(ours, "librdkafka",
		 LOG_FIELDS(field_text("facility", facility), field_slice("broker", broker)),
		 "kafka: %s: %s%s", facility, text, of != NULL ? of->limit.note : "");
}

void kafka_log_event(rd_kafka_event_t *event, struct login_notes *notes)
{
	const char *facility, *text;
	int level;

	if (rd_kafka_event_log(event, &facility, &text, &level) != 0)
		return;
	kafka_login_note(notes, facility, text);
	kafka_log(level, facility, text);
}
