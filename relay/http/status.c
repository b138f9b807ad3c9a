/* SPDX-License-Identifier: ISC */
/*
 * status.c - /status: what the relay does, for people and for `outbox-relay status`
 */
#include "status.h"

#include "base/clock.h"
#include "base/text.h"

#include <jansson.h>
#include <time.h>

void pages_judge(const struct pages *p, struct worker_status *status, struct health *health)
{
	worker_status(p->worker, status);
	health_judge(status, p->metrics, p->stall_us, health);
}

double pages_uptime(const struct pages *p)
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
	json_object_set_new(json, "problems", problems_json(health));
}

/* What waits for an operator, or for a topic. Keys wait also behind rows that cannot be removed. */
static void add_letters(json_t *json, const struct pages *p, const struct worker_status *status)
{
	const struct letter_gauges *letters = &p->metrics->letters;
	const char *topic = letters->deferred > 0 ? status->deferred_topic : "";
	letters_json(json, letters);
	json_object_set_new(
	    json, "parked_keys",
	    json_integer((json_int_t)letters->parked.keys + (json_int_t)status->held_keys));
	json_object_set_new(json, "held_keys", json_integer((json_int_t)status->held_keys));
	json_object_set_new(json, "deferred_topic", json_text(*topic != '\0' ? topic : NULL));
}

/* With positions: how long the oldest transaction has been open that they cannot pass. */
static void add_position(json_t *json, const struct pages *p)
{
	double lag = p->metrics->position_lag_seconds;
	json_object_set_new(json, "position_lag_seconds", lag < 0 ? json_null() : json_real(lag));
}

static json_t *seconds(int64_t us)
{
	return us < 0 ? json_null() : json_real((double)us / 1e6);
}

static json_t *peer_json(const struct pages *p, const struct worker_status *status,
			 enum metrics_peer peer, const char *address)
{
	bool connected = p->metrics->connected[peer];
	int64_t us = connected ? status->answers_us[peer] : status->outage_us[peer];
	return json_pack("{s:b, s:o, s:o}", "connected", connected, "seconds", seconds(us),
			 "address", json_text(address));
}

/* What is measured over time: of this relay alone. */
static void add_recent(json_t *json, const struct pages *p)
{
	const struct recent *recent = &p->metrics->recent;
	int64_t now = clock_monotonic_us(), since = (int64_t)(p->started_s * 1e6);
	struct recent_latency latency = recent_latency(recent, now);
	json_object_set_new(json, "rate_10s", json_real(recent_rate(recent, now, since, 10)));
	json_object_set_new(json, "rate_60s", json_real(recent_rate(recent, now, since, 60)));
	json_object_set_new(json, "latency",
			    latency.events == 0
				? json_null()
				: json_pack("{s:i, s:I, s:f, s:f, s:f}", "seconds", RECENT_SECONDS,
					    "events", (json_int_t)latency.events, "p50",
					    latency.p50, "p95", latency.p95, "p99", latency.p99));
}

static json_t *relay_json(const struct source_relay *relay)
{
	json_t *owned = json_array();
	for (int k = 0; k < relay->shards.count; k++)
		if (relay->shards.owned[k])
			json_array_append_new(owned, json_integer(k));
	return json_pack("{s:i, s:o, s:o, s:i, s:o, s:b, s:b}", "pid", relay->pid, "application",
			 json_text(relay->application), "client",
			 json_text(relay->client[0] != '\0' ? relay->client : NULL), "layout",
			 relay->layout, "shards", owned, "abstains", relay->unavailable, "self",
			 relay->self);
}

static json_t *action_json(const struct source_action *action)
{
	return json_pack("{s:o, s:o, s:o, s:o}", "at", json_text(action->at), "role",
			 json_text(action->role), "action", json_text(action->action), "detail",
			 json_text(action->detail));
}

/* Who else is there, and what people have done. */
static void add_group(json_t *json, const struct worker_status *status)
{
	json_t *relays = json_array(), *actions = json_array();
	for (size_t i = 0; i < status->relay_count; i++)
		json_array_append_new(relays, relay_json(&status->relays[i]));
	for (size_t i = 0; i < status->action_count; i++)
		json_array_append_new(actions, action_json(&status->actions[i]));
	json_object_set_new(json, "relays", relays);
	json_object_set_new(json, "operator_actions", actions);
}

/* Which relay this is, and the time by its clock. */
static void add_identity(json_t *json, const struct pages *p, const struct worker_status *status)
{
	char text[32];
	time_t now = (time_t)(clock_realtime_us() / 1000000);
	struct tm utc;
	gmtime_r(&now, &utc);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc);
	json_object_set_new(json, "time", json_string(text));
	json_object_set_new(json, "version", json_text(p->metrics->version));
	json_object_set_new(json, "outbox", json_text(p->outbox));
	json_object_set_new(json, "peers",
			    json_pack("{s:o, s:o}", "database",
				      peer_json(p, status, PEER_DATABASE, p->database), "kafka",
				      peer_json(p, status, PEER_KAFKA, p->brokers)));
}

char *status_json(const struct pages *p)
{
	struct worker_status status;
	struct health health;
	pages_judge(p, &status, &health);
	json_t *json = json_pack(
	    "{s:s, s:o, s:i, s:i, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:b, s:b, s:f, s:o, s:o, s:o}",
	    "state", status.state, "standby", json_text(status.standby), "shards",
	    status.shards->count, "shards_owned", shards_owned(status.shards), "floor",
	    (json_int_t)status.low_watermark, "batch_events", (json_int_t)status.batch_events,
	    "outstanding", (json_int_t)status.in_flight, "published", (json_int_t)status.published,
	    "uptime_seconds", pages_uptime(p), "rate", (double)status.published / pages_uptime(p),
	    "depth", p->metrics->depth, "database", p->metrics->connected[PEER_DATABASE], "kafka",
	    p->metrics->connected[PEER_KAFKA], "oldest_age_seconds", p->metrics->oldest_age_seconds,
	    "refusal", json_text(status.refusal), "unconfirmed", json_text(status.unconfirmed),
	    "trouble", json_text(status.trouble));
	add_words(json, p, &status, &health);
	add_letters(json, p, &status);
	add_position(json, p);
	add_identity(json, p, &status);
	add_recent(json, p);
	add_group(json, &status);
	char *body = json_dumps(json, JSON_COMPACT);
	json_decref(json);
	return body;
}
