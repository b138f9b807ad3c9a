/* SPDX-License-Identifier: ISC */
/*
 * pages.c - the pages: /metrics, /healthz, /readyz, /status
 */
#include "http.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "core/health.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

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

static void judge(const struct pages *p, struct worker_status *status, struct health *health)
{
	worker_status(p->worker, status);
	health_judge(status, p->metrics, p->stall_us, health);
}

bool pages_healthy(const struct pages *p)
{
	struct worker_status status;
	struct health health;
	judge(p, &status, &health);
	return !health.stuck;
}

static int healthz_page(void *arg, char **body, size_t *len)
{
	if (pages_healthy(arg))
		return text_page(body, len, 200, "ok\n");
	return text_page(body, len, 503,
			 "events wait, both peers answer, and nothing has moved for twice "
			 "outbox.stall_timeout\n");
}

static int line_page(char **body, size_t *len, int code, const char *text)
{
	*body = xasprintf("%s\n", text);
	*len = strlen(*body);
	return code;
}

static int readyz_page(void *arg, char **body, size_t *len)
{
	struct worker_status status;
	struct health health;
	judge(arg, &status, &health);
	if (health.unready != NULL)
		return line_page(body, len, 503, health.unready->text);
	if (status.standby[0] != '\0') {
		char text[400];
		text_print(text, sizeof(text), "standby: %s", status.standby);
		return line_page(body, len, 200, text);
	}
	return text_page(body, len, 200, "ready\n");
}

static double uptime(const struct pages *p)
{
	double up = (double)clock_monotonic_us() / 1e6 - p->started_s;
	return up > 0.001 ? up : 0.001;
}

static json_t *halted_at(const struct source_event *event)
{
	if (event == NULL)
		return json_null();
	return json_pack("{s:o, s:I, s:o, s:o, s:o, s:o, s:o}", "table", json_text(event->table),
			 "id", (json_int_t)event->id, "event_id", json_text(event->event_id), "key",
			 json_text(event->key), "why", json_text(event->why), "remove",
			 json_text(event->remove), "change", json_text(event->change));
}

static json_t *problem_json(const struct problem *problem)
{
	json_t *json = json_pack("{s:s, s:b, s:o, s:s}", "name", health_problem_name(problem->kind),
				 "ready", problem->ready, "text", json_text(problem->text),
				 "runbook", health_problem_runbook(problem->kind));
	if (problem->lasts_us >= 0)
		json_object_set_new(json, "seconds", json_real((double)problem->lasts_us / 1e6));
	return json;
}

static json_t *problems_json(const struct health *health)
{
	json_t *list = json_array();
	for (size_t i = 0; i < health->count; i++)
		json_array_append_new(list, problem_json(&health->problems[i]));
	return list;
}

/* What an operator reads: the state in words, since when, and what is wrong. */
static void add_words(json_t *json, const struct pages *p, const struct worker_status *status,
		      const struct health *health)
{
	char text[400];
	health_explain(status, p->metrics, text, sizeof(text));
	json_object_set_new(json, "explanation", json_text(text));
	json_object_set_new(json, "state_seconds", json_real((double)status->state_us / 1e6));
	json_object_set_new(json, "halted", json_boolean(status->halted_at != NULL));
	json_object_set_new(json, "halted_at", halted_at(status->halted_at));
	json_object_set_new(json, "ready", json_boolean(health->unready == NULL));
	json_object_set_new(json, "paused", json_boolean(p->metrics->paused));
	json_object_set_new(json, "dead_letters",
			    json_integer((json_int_t)p->metrics->dead_letters));
	json_object_set_new(json, "problems", problems_json(health));
}

static int status_page(void *arg, char **body, size_t *len)
{
	const struct pages *p = arg;
	struct worker_status status;
	struct health health;
	judge(p, &status, &health);
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
	add_words(json, p, &status, &health);
	*body = json_dumps(json, JSON_COMPACT);
	*len = strlen(*body);
	json_decref(json);
	return 200;
}

/* ---- SIGUSR1 ---- */

static const char *word(const struct pages *p, enum metrics_peer peer)
{
	return p->metrics->connected[peer] ? "connected" : "unreachable";
}

void pages_log_status(const struct pages *p)
{
	struct worker_status status;
	struct health health;
	char explanation[400];
	judge(p, &status, &health);
	const struct problem *problem = health.count > 0 ? &health.problems[0] : NULL;
	health_explain(&status, p->metrics, explanation, sizeof(explanation));
	log_fact(
	    LOG_INFO, "status",
	    LOG_FIELDS(field_text("state", status.state),
		       field_seconds("state_seconds", status.state_us),
		       field_number("shards_owned", shards_owned(status.shards)),
		       field_number("shards", status.shards->count),
		       field_number("in_flight", (int64_t)status.in_flight),
		       field_number("published", (int64_t)status.published),
		       field_number("depth", (int64_t)p->metrics->depth),
		       field_text("problem", problem ? health_problem_name(problem->kind) : "")),
	    "status: %s for %.1f s (%s), %d of %d shards, low watermark %lld, batch of %zu "
	    "events (%zu with Kafka), %llu published in %.0f s, depth %.0f, oldest %.1f s, "
	    "database %s, kafka %s%s%s",
	    status.state, (double)status.state_us / 1e6, explanation, shards_owned(status.shards),
	    status.shards->count, (long long)status.low_watermark, status.batch_events,
	    status.in_flight, (unsigned long long)status.published, uptime(p), p->metrics->depth,
	    p->metrics->oldest_age_seconds, word(p, PEER_DATABASE), word(p, PEER_KAFKA),
	    problem != NULL ? "; " : "", problem != NULL ? problem->text : "");
}

const struct http_page relay_pages[] = {
    {"/metrics", "text/plain; version=0.0.4; charset=utf-8", metrics_page},
    {"/healthz", "text/plain", healthz_page},
    {"/readyz", "text/plain", readyz_page},
    {"/status", "application/json", status_page},
    {NULL, NULL, NULL},
};
