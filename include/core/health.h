/* SPDX-License-Identifier: ISC */
/*
 * health.h - what a relay is doing, and what is wrong, in words for an operator
 *
 * The one place that judges it: /readyz, /healthz, /status, `status` and SIGUSR1 say what stands
 * here. Pure. Thread: any.
 */
#ifndef OUTBOX_HEALTH_H
#define OUTBOX_HEALTH_H

#include "core/worker.h"

/* The kinds of problems, the most urgent first; the first one that is there decides /readyz.
 *	name of the enum, stable name for programs, page of docs/runbooks */
#define HEALTH_PROBLEMS(X)                                                                         \
	X(DATABASE_UNREACHABLE, "database_unreachable", "database-unreachable")                    \
	X(KAFKA_LOGIN, "kafka_login", "kafka-login")                                               \
	X(KAFKA_UNREACHABLE, "kafka_unreachable", "kafka-unreachable")                             \
	X(HALTED, "halted", "rejected-event")                                                      \
	X(DATABASE_REFUSES, "database_refuses", "database-refuses")                                \
	X(EVENT_NOT_REMOVED, "event_not_removed", "event-not-removed")                             \
	X(UNCONFIRMED, "unconfirmed", "unconfirmed-events")                                        \
	X(KAFKA_REFUSES, "kafka_refuses", "kafka-refuses-topic")                                   \
	X(FOREIGN_LOCK, "foreign_lock", "standby-does-not-take-over")                              \
	X(TOPIC_MISSING, "topic_missing", "topic-missing")                                         \
	X(STUCK, "stuck", "stuck")                                                                 \
	X(PAUSED, "paused", "paused")                                                              \
	X(PARKED_KEYS, "parked_keys", "rejected-event")                                            \
	X(DEAD_LETTERS, "dead_letters", "rejected-event")

enum health_problem {
#define X(id, name, runbook) PROBLEM_##id,
	HEALTH_PROBLEMS(X)
#undef X
	    PROBLEM_COUNT
};

const char *health_problem_name(enum health_problem kind);
const char *health_problem_runbook(enum health_problem kind); /* "docs/runbooks/paused.md" */

struct problem {
	enum health_problem kind;
	bool ready;	  /* the relay is ready all the same */
	int64_t lasts_us; /* for how long, as far as is known; otherwise negative */
	char text[2000];  /* with statements that can be pasted */
};

struct health {
	struct problem problems[PROBLEM_COUNT];
	size_t count;
	/* Not ready: the first problem that says so; NULL: the relay is ready. */
	const struct problem *unready;
	/* A restart helps: events wait, both peers answer, no topic is waited for, and nothing has
	 * moved for twice stall_us. */
	bool stuck;
};

void health_judge(const struct worker_status *status, const struct metrics *metrics,
		  int64_t stall_us, struct health *health);

/* A sentence about the state of the engine: what the relay does or waits for. */
void health_explain(const struct worker_status *status, const struct metrics *metrics, char *text,
		    size_t size);

#endif
