/* SPDX-License-Identifier: ISC */
/*
 * health.c - what a relay is doing, and what is wrong, in words for an operator
 */
#include "core/health.h"

#include "base/text.h"

#include <stdarg.h>
#include <string.h>

/* A topic seen for the first time takes a moment; one that is missing is logged after 3 s. */
static const int64_t topic_patience_us = 3 * INT64_C(1000000);

const char *health_problem_name(enum health_problem kind)
{
	static const char *const names[] = {
#define X(id, name, runbook) name,
	    HEALTH_PROBLEMS(X)
#undef X
	};
	return names[kind];
}

const char *health_problem_runbook(enum health_problem kind)
{
	static const char *const pages[] = {
#define X(id, name, runbook) "docs/runbooks/" runbook ".md",
	    HEALTH_PROBLEMS(X)
#undef X
	};
	return pages[kind];
}

/* ---- what is wrong ---- */

static void add(struct health *health, enum health_problem kind, bool ready, const char *format,
		...) __attribute__((format(printf, 4, 5)));

static void add(struct health *health, enum health_problem kind, bool ready, const char *format,
		...)
{
	struct problem *problem = &health->problems[health->count++];
	va_list args;

	problem->kind = kind;
	problem->ready = ready;
	problem->lasts_us = -1;
	va_start(args, format);
	text_vprint(problem->text, sizeof(problem->text), format, args);
	va_end(args);
}

static void lasts(struct health *health, int64_t us)
{
	health->problems[health->count - 1].lasts_us = us;
}

static void add_why(struct health *health, enum health_problem kind, const char *what,
		    const char *why)
{
	add(health, kind, false, "%s%s%s", what, why[0] != '\0' ? ": " : "", why);
}

static bool is_standby(const struct worker_status *status)
{
	return status->standby[0] != '\0';
}

static void judge_peers(const struct worker_status *status, const struct metrics *metrics,
			struct health *health)
{
	enum health_problem kafka =
	    status->login_refused ? PROBLEM_KAFKA_LOGIN : PROBLEM_KAFKA_UNREACHABLE;

	if (!metrics->connected[PEER_DATABASE]) {
		add_why(health, PROBLEM_DATABASE_UNREACHABLE, "no session with the database",
			status->lost_why);
		lasts(health, status->outage_us[PEER_DATABASE]);
	}
	if (is_standby(status)) {
		if (status->unavailable)
			add(health, kafka, false, "standby: %s%s%s", status->standby,
			    status->trouble[0] != '\0' ? ": " : "", status->trouble);
	} else if (!metrics->connected[PEER_KAFKA]) {
		add_why(health, kafka,
			status->login_refused ? "Kafka does not let this relay in"
					      : "no Kafka broker answers",
			status->trouble);
		lasts(health, status->outage_us[PEER_KAFKA]);
	}
}

static void judge_refusals(const struct worker_status *status, const struct metrics *metrics,
			   struct health *health)
{
	if (status->halted_at != NULL)
		add_why(health,
			status->halted_at->remove != NULL ? PROBLEM_HALTED
							  : PROBLEM_EVENT_NOT_REMOVED,
			"halted, nothing is published", status->refusal);
	else if (status->refusal[0] != '\0' && status->stopped_by_refusal)
		add_why(health, PROBLEM_DATABASE_REFUSES, "nothing is published", status->refusal);
	else if (status->refusal[0] != '\0' && !is_standby(status)) /* whose keys wait for others */
		add_why(health, PROBLEM_EVENT_NOT_REMOVED, "one key or more waits",
			status->refusal);
	if (status->unconfirmed[0] != '\0')
		add_why(health, PROBLEM_UNCONFIRMED, "nothing is published", status->unconfirmed);
	if (metrics->connected[PEER_KAFKA] && status->trouble[0] != '\0')
		add_why(health, PROBLEM_KAFKA_REFUSES, "Kafka accepts no events", status->trouble);
}

/* A standby waits for what the obstacle says, in the same words. */
static void judge_obstacle(const struct worker_status *status, struct health *health)
{
	if (status->obstacle[0] == '\0')
		return;
	if (is_standby(status))
		add_why(health, PROBLEM_FOREIGN_LOCK, "standby", status->standby);
	else
		add(health, PROBLEM_FOREIGN_LOCK, false, "%s", status->obstacle);
}

/* A restart brings no topic, no peer, no standby, and no event that is accepted. */
static bool is_stuck(const struct worker_status *status, const struct metrics *metrics,
		     int64_t stall_us)
{
	bool both = metrics->connected[PEER_DATABASE] && metrics->connected[PEER_KAFKA];

	return both && status->acquired && status->waiting && status->blocked_us < 0 &&
	       !status->stopped_by_refusal && status->unconfirmed[0] == '\0' &&
	       status->idle_us > 2 * stall_us;
}

/* "events: at least 10001 (too_large 3, headers 1)". */
static void print_letters(char *text, size_t size, double count, const double *by_reason)
{
	const char *between = " (";

	text_print(text, size, "%s%.0f", count > LETTERS_EXACT ? "at least " : "", count);
	for (int reason = 0; by_reason != NULL && reason < REJECT_REASONS; reason++) {
		size_t len = strlen(text);

		if (by_reason[reason] <= 0)
			continue;
		text_print(text + len, size - len, "%s%s %.0f", between,
			   reject_reason_name((enum reject_reason)reason), by_reason[reason]);
		between = ", ";
	}
	if (between[0] == ',')
		text_print(text + strlen(text), size - strlen(text), ")");
}

static void judge_topics(const struct worker_status *status, const struct metrics *metrics,
			 struct health *health)
{
	char events[64];

	print_letters(events, sizeof(events), metrics->letters.deferred, NULL);
	if (is_standby(status))
		return;
	if (status->blocked_us > topic_patience_us) {
		add(health, PROBLEM_TOPIC_MISSING, false, "waiting for topic \"%s\", see the log",
		    status->blocked_topic);
		lasts(health, status->blocked_us);
	} else if (metrics->letters.deferred > 0 && status->deferred_topic[0] != '\0')
		add(health, PROBLEM_TOPIC_MISSING, true,
		    "events that wait for topic \"%s\", or for others that cannot be used: %s; "
		    "events of all other topics are published",
		    status->deferred_topic, events);
	else if (metrics->letters.deferred > 0) /* it is tried at this moment */
		add(health, PROBLEM_TOPIC_MISSING, true,
		    "events that wait for a topic that could not be used: %s", events);
}

/* What nothing but an operator's decision moves on. */
static void judge_letters(const struct metrics *metrics, struct health *health)
{
	const struct letter_gauges *letters = &metrics->letters;
	char count[400], events[64];

	if (letters->parked.keys > 0) {
		print_letters(count, sizeof(count), letters->parked.keys,
			      letters->parked.by_reason);
		print_letters(events, sizeof(events), letters->parked.events, NULL);
		add(health, PROBLEM_PARKED_KEYS, true,
		    "keys that wait behind a rejected event: %s; their events: %s, the oldest is "
		    "%.0f s old; `outbox-relay dlq list` names them",
		    count, events, letters->parked.oldest_age_seconds);
	}
	if (letters->dead > 0) {
		print_letters(count, sizeof(count), letters->dead, letters->dead_by_reason);
		add(health, PROBLEM_DEAD_LETTERS, true,
		    "rejected events in the dead letters: %s; `outbox-relay dlq list` names them",
		    count);
	}
}

static void judge_rest(const struct worker_status *status, const struct metrics *metrics,
		       struct health *health)
{
	judge_topics(status, metrics, health);
	/* Stuck says nothing of readiness: /healthz tells it. */
	if (health->stuck)
		add(health, PROBLEM_STUCK, true,
		    "events wait, both peers answer, and nothing has moved for twice "
		    "outbox.stall_timeout");
	if (metrics->paused)
		add(health, PROBLEM_PAUSED, true, "the outbox is paused: no relay publishes");
	judge_letters(metrics, health);
}

void health_judge(const struct worker_status *status, const struct metrics *metrics,
		  int64_t stall_us, struct health *health)
{
	health->count = 0;
	health->unready = NULL;
	health->stuck = is_stuck(status, metrics, stall_us);
	judge_peers(status, metrics, health);
	judge_refusals(status, metrics, health);
	judge_obstacle(status, health);
	judge_rest(status, metrics, health);
	for (size_t i = health->count; i-- > 0;)
		if (!health->problems[i].ready)
			health->unready = &health->problems[i];
}

/* ---- what it does ---- */

static void explain_fetching(const struct worker_status *status, char *text, size_t size)
{
	if (status->refusal[0] != '\0' && status->stopped_by_refusal)
		text_print(text, size, "nothing is published: the database refuses");
	else if (status->unconfirmed[0] != '\0')
		text_print(text, size, "nothing is published: %s", status->unconfirmed);
	else if (status->batch_events > 0)
		text_print(text, size,
			   "events are read from the outbox and sent to Kafka, %zu in this batch",
			   status->batch_events);
	else if (status->waiting)
		text_print(text, size, "events are being read from the outbox");
	else
		text_print(text, size, "no events wait; the next one is sent when it is committed");
}

static void explain_holding(const struct worker_status *status, const struct metrics *metrics,
			    char *text, size_t size)
{
	if (status->in_flight > 0)
		text_print(text, size,
			   "nothing more is published while Kafka has not reported the fate of %zu "
			   "events",
			   status->in_flight);
	else if (!metrics->connected[PEER_KAFKA])
		text_print(text, size, "nothing is published until Kafka %s",
			   status->login_refused ? "lets this relay in" : "answers");
	else if (status->blocked_us >= 0)
		text_print(text, size, "nothing is published until Kafka takes events of a topic");
	else
		text_print(text, size, "nothing is published until the Kafka producer is ready");
}

void health_explain(const struct worker_status *status, const struct metrics *metrics, char *text,
		    size_t size)
{
	if (status->halted_at != NULL) {
		text_print(text, size, "nothing is published until one event is changed or gone");
		return;
	}
	switch (status->engine) {
	case ENGINE_OFFLINE:
		text_print(text, size, "no session with the database; the relay connects again");
		return;
	case ENGINE_OPENING:
		text_print(text, size, "connecting to the database and reading how the outbox is");
		return;
	case ENGINE_STANDBY:
		text_print(text, size, "no shard is this relay's: %s", status->standby);
		return;
	case ENGINE_FETCHING:
		explain_fetching(status, text, size);
		return;
	case ENGINE_PUBLISHING:
		text_print(text, size, "%zu events are with Kafka, which has to acknowledge them",
			   status->in_flight);
		return;
	case ENGINE_COMMITTING:
		text_print(text, size,
			   "Kafka has %zu events; their transaction is being committed there",
			   status->batch_events);
		return;
	case ENGINE_SETTLING:
		text_print(text, size,
			   "Kafka has acknowledged %zu events; the database commits that",
			   status->batch_events);
		return;
	case ENGINE_ROLLING_BACK:
		text_print(text, size, "the transaction is being rolled back");
		return;
	case ENGINE_HOLDING:
		explain_holding(status, metrics, text, size);
		return;
	case ENGINE_RECONCILING:
		text_print(text, size,
			   "the transaction of %zu events is gone; those that Kafka has are being "
			   "settled by their identity",
			   status->batch_events);
		return;
	case ENGINE_RESOLVING:
		text_print(text, size,
			   "what Kafka's ledger has of earlier batches is being settled");
		return;
	case ENGINE_CLOSING:
		text_print(text, size, "stopping: the session with the database is being closed");
		return;
	case ENGINE_STOPPED:
	case ENGINE_STATE_COUNT:
		text_print(text, size, "stopped");
		return;
	}
}
