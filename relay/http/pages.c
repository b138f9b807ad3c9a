/*
 * pages.c - the pages: /metrics, /healthz, /readyz, /status
 */
#include "http.h"

#include "base/clock.h"
#include "base/text.h"
#include "base/xalloc.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* A topic seen for the first time takes a moment; one that is missing is logged after 3 s.
 */
static const int64_t topic_patience_us = 3 * INT64_C(1000000);

static int text_page(char **body, size_t *len, int code, const char *text)
{
	*body = xstrdup(text);
	*len = strlen(text);
	return code;
}

static int metrics_page(void *arg, char **body, size_t *len)
{
	const struct pages *p = arg;
	*body = metrics_print(p->metrics, len);
	return 200;
}

bool pages_healthy(const struct pages *p)
{
	struct worker_status status;
	worker_status(p->worker, &status);
	const bool *connected = p->metrics->connected;
	bool both = connected[PEER_DATABASE] && connected[PEER_KAFKA];
	/* A restart brings no topic. */
	bool stuck = status.waiting && status.blocked_us < 0 && status.idle_us > 2 * p->stall_us;
	return !(both && status.acquired && stuck);
}

static int healthz_page(void *arg, char **body, size_t *len)
{
	if (pages_healthy(arg))
		return text_page(body, len, 200, "ok\n");
	return text_page(body, len, 503,
			 "events wait, both peers answer, and nothing has moved for twice "
			 "outbox.stall_timeout\n");
}

static int why_page(char **body, size_t *len, const char *what, const char *why)
{
	*body = xasprintf("%s%s%s\n", what, why[0] != '\0' ? ": " : "", why);
	*len = strlen(*body);
	return 503;
}

static int readyz_page(void *arg, char **body, size_t *len)
{
	const struct pages *p = arg;
	struct worker_status status;
	worker_status(p->worker, &status);
	if (status.standby[0] != '\0') {
		char text[400];
		bool ready = !status.unavailable && status.obstacle[0] == '\0';
		text_print(text, sizeof(text), "standby: %s\n", status.standby);
		return text_page(body, len, ready ? 200 : 503, text);
	}
	if (!p->metrics->connected[PEER_DATABASE])
		return why_page(body, len, "no session with the database", status.lost_why);
	if (!p->metrics->connected[PEER_KAFKA])
		return why_page(body, len, "no Kafka broker answers", status.trouble);
	if (status.refusal[0] != '\0')
		return why_page(body, len,
				status.stopped_by_refusal ? "nothing is published"
							  : "one key or more waits",
				status.refusal);
	if (status.trouble[0] != '\0')
		return why_page(body, len, "Kafka accepts no events", status.trouble);
	if (status.obstacle[0] != '\0') {
		char text[400];
		snprintf(text, sizeof(text), "%s\n", status.obstacle);
		return text_page(body, len, 503, text);
	}
	if (status.blocked_us > topic_patience_us)
		return text_page(body, len, 503, "waiting for a topic, see the log\n");
	return text_page(body, len, 200, "ready\n");
}

static double uptime(const struct pages *p)
{
	double up = (double)clock_monotonic_us() / 1e6 - p->started_s;
	return up > 0.001 ? up : 0.001;
}

static int status_page(void *arg, char **body, size_t *len)
{
	const struct pages *p = arg;
	struct worker_status status;
	worker_status(p->worker, &status);
	json_t *json = json_pack(
	    "{s:s, s:o, s:i, s:i, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:b, s:b, s:f, s:I, s:o, s:o}",
	    "state", status.state, "standby", json_text(status.standby), "shards",
	    status.shards->count, "shards_owned", shards_owned(status.shards), "floor",
	    (json_int_t)status.low_watermark, "batch_events", (json_int_t)status.batch_events,
	    "outstanding", (json_int_t)status.in_flight, "published", (json_int_t)status.published,
	    "uptime_seconds", uptime(p), "rate", (double)status.published / uptime(p), "depth",
	    p->metrics->depth, "database", p->metrics->connected[PEER_DATABASE], "kafka",
	    p->metrics->connected[PEER_KAFKA], "oldest_age_seconds", p->metrics->oldest_age_seconds,
	    "parked_keys", (json_int_t)status.held_keys, "refusal", json_text(status.refusal),
	    "trouble", json_text(status.trouble));
	*body = json_dumps(json, JSON_COMPACT);
	*len = strlen(*body);
	json_decref(json);
	return 200;
}

char *pages_status_line(const struct pages *p)
{
	struct worker_status status;
	worker_status(p->worker, &status);
	return xasprintf("status: %s, %d of %d shards, low watermark %lld, batch of %zu events "
			 "(%zu with Kafka), %llu "
			 "published in %.0f s, depth %.0f, oldest %.1f s, database %s, kafka %s",
			 status.state, shards_owned(status.shards), status.shards->count,
			 (long long)status.low_watermark, status.batch_events, status.in_flight,
			 (unsigned long long)status.published, uptime(p), p->metrics->depth,
			 p->metrics->oldest_age_seconds,
			 p->metrics->connected[PEER_DATABASE] ? "connected" : "unreachable",
			 p->metrics->connected[PEER_KAFKA] ? "connected" : "unreachable");
}

const struct http_page relay_pages[] = {
    {"/metrics", "text/plain; version=0.0.4; charset=utf-8", metrics_page},
    {"/healthz", "text/plain", healthz_page},
    {"/readyz", "text/plain", readyz_page},
    {"/status", "application/json", status_page},
    {NULL, NULL, NULL},
};
