/* SPDX-License-Identifier: ISC */
/*
 * worker_peers.c - what the log says of a peer that cannot be used, and of its return
 */
#include "worker_internal.h"

#include <stdio.h>

static const char *const names[PEERS] = {[PEER_DATABASE] = "database", [PEER_KAFKA] = "kafka"};

/* As health.h names the problems. */
static const char *code_of(const struct worker *worker, enum metrics_peer peer)
{
	if (peer == PEER_DATABASE)
		return "database_unreachable";
	return worker->sink->login_refused ? "kafka_login" : "kafka_unreachable";
}

/* "12 m 3 s", "4.2 s" */
static void print_time(int64_t us, char *out, size_t size)
{
	long long seconds = us / 1000000;

	if (seconds < 60)
		snprintf(out, size, "%.1f s", worker_seconds(us));
	else if (seconds < 3600)
		snprintf(out, size, "%lld m %lld s", seconds / 60, seconds % 60);
	else
		snprintf(out, size, "%lld h %lld m", seconds / 3600, seconds / 60 % 60);
}

/* Kafka's are librdkafka's, which does not tell of them. */
static void print_attempts(const struct outage *outage, enum metrics_peer peer, char *out,
			   size_t size)
{
	out[0] = '\0';
	if (peer == PEER_DATABASE)
		snprintf(out, size, ", %u attempt%s", outage->failures,
			 outage->failures == 1 ? "" : "s");
}

static struct log_field attempts_of(const struct outage *outage, enum metrics_peer peer)
{
	return peer == PEER_DATABASE ? field_number("attempts", outage->failures)
				     : field_text("attempts", NULL);
}

static const char *why_of(const struct worker *worker, enum metrics_peer peer)
{
	static const char login[] = "cannot connect to the database: ";
	bool twice = worker->lost_for_good && strncmp(worker->lost_why, login, strlen(login)) == 0;

	/* "the database cannot be worked with" comes before it, and says as much. */
	if (peer == PEER_DATABASE)
		return worker->lost_why + (twice ? strlen(login) : 0);
	return worker->sink->trouble != NULL ? worker->sink->trouble : "";
}

/* What is wrong, as the beginning of a line. */
static const char *what_of(const struct worker *worker, enum metrics_peer peer)
{
	if (peer == PEER_DATABASE && worker->lost_for_good)
		return "the database cannot be worked with";
	if (peer == PEER_DATABASE)
		return worker->outages[peer].failures > 1 || !worker->ever_acquired
			   ? "no session with the database"
			   : "the session with the database is gone";
	return worker->sink->login_refused ? "Kafka does not let this relay in"
					   : "no Kafka broker answers";
}

static const char *what_follows(const struct worker *worker, enum metrics_peer peer)
{
	if (peer == PEER_KAFKA)
		return "events wait in the outbox";
	return worker->batch.sent > 0
		   ? "what was published is remembered and settled after reconnecting"
		   : "reconnecting";
}

static void tell_begin(const struct worker *worker, enum metrics_peer peer)
{
	const char *why = why_of(worker, peer);

	log_fact(LOG_WARNING, code_of(worker, peer),
		 LOG_FIELDS(field_text("peer", names[peer]), field_sqlstate(why)), "%s%s%s; %s",
		 what_of(worker, peer), why[0] != '\0' ? ": " : "", why,
		 what_follows(worker, peer));
}

static void tell_lasting(const struct worker *worker, enum metrics_peer peer, int64_t lasted_us)
{
	const struct outage *outage = &worker->outages[peer];
	const char *why = why_of(worker, peer);
	double depth = worker->metrics->depth;
	char lasted[40], attempts[40], backlog[60] = "";

	print_time(lasted_us, lasted, sizeof(lasted));
	print_attempts(outage, peer, attempts, sizeof(attempts));
	if (depth > 0)
		snprintf(backlog, sizeof(backlog), "; %.0f events wait", depth);
	log_fact(LOG_WARNING, code_of(worker, peer),
		 LOG_FIELDS(field_text("peer", names[peer]),
			    field_seconds("outage_seconds", lasted_us), attempts_of(outage, peer),
			    field_sqlstate(why)),
		 "%s%s%s; for %s now%s%s", what_of(worker, peer), why[0] != '\0' ? ": " : "", why,
		 lasted, attempts, backlog);
}

static void tell_end(const struct worker *worker, enum metrics_peer peer)
{
	const struct outage *outage = &worker->outages[peer];
	int64_t lasted_us = outage->back_us - outage->since_us;
	char lasted[40], attempts[40];

	print_time(lasted_us, lasted, sizeof(lasted));
	print_attempts(outage, peer, attempts, sizeof(attempts));
	log_fact(LOG_INFO, peer == PEER_DATABASE ? "database_back" : "kafka_back",
		 LOG_FIELDS(field_text("peer", names[peer]),
			    field_seconds("outage_seconds", lasted_us), attempts_of(outage, peer)),
		 "%s answers again after %s%s", peer == PEER_DATABASE ? "the database" : "Kafka",
		 lasted, attempts);
	/* What was not said of a peer that came and went is said now. */
	if (outage->stay_us > 0 && worker->world->changed != NULL)
		worker->world->changed(worker->world->arg);
}

static void set_timer(struct worker *worker, int64_t now)
{
	const struct worker_world *world = worker->world;
	int64_t due = INT64_MAX;

	for (int peer = 0; peer < PEERS; peer++) {
		int64_t at = outage_due_us(&worker->outages[peer]);

		due = at < due ? at : due;
	}
	if (due == INT64_MAX || due == worker->outage_timer_us)
		return;
	worker->outage_timer_us = due;
	world->set_timer(world->arg, WORKER_TIMER_OUTAGE, due > now ? due - now : 0);
}

static void tell(struct worker *worker, enum metrics_peer peer, enum outage_line line)
{
	int64_t now = worker_now_us(worker);

	if (line == OUTAGE_BEGAN)
		tell_begin(worker, peer);
	else if (line == OUTAGE_LASTS)
		tell_lasting(worker, peer, now - worker->outages[peer].since_us);
	else if (line == OUTAGE_ENDED)
		tell_end(worker, peer);
	set_timer(worker, now);
}

void worker_peer_expected(struct worker *worker, enum metrics_peer peer)
{
	outage_expect(&worker->outages[peer], worker_now_us(worker));
	tell(worker, peer, OUTAGE_NOTHING);
}

void worker_peer_failed(struct worker *worker, enum metrics_peer peer)
{
	tell(worker, peer,
	     outage_failed(&worker->outages[peer], worker_now_us(worker), why_of(worker, peer)));
}

void worker_peer_answers(struct worker *worker, enum metrics_peer peer)
{
	tell(worker, peer, outage_answered(&worker->outages[peer], worker_now_us(worker)));
}

void worker_peers_on_timer(struct worker *worker)
{
	worker->outage_timer_us = 0;
	for (int i = 0; i < PEERS; i++) {
		enum metrics_peer peer = (enum metrics_peer)i;

		tell(worker, peer,
		     outage_on_time(&worker->outages[peer], worker_now_us(worker),
				    why_of(worker, peer)));
	}
}

bool worker_peer_flaps(const struct worker *worker, enum metrics_peer peer)
{
	return worker->outages[peer].told && !worker->outages[peer].down;
}

int64_t worker_peer_outage_us(const struct worker *worker, enum metrics_peer peer)
{
	const struct outage *outage = &worker->outages[peer];

	return outage->down ? worker_now_us(worker) - outage->since_us : -1;
}

int64_t worker_peer_answers_us(const struct worker *worker, enum metrics_peer peer)
{
	const struct outage *outage = &worker->outages[peer];
	bool answers = !outage->down && outage->up_us != 0;

	return answers ? worker_now_us(worker) - outage->up_us : -1;
}
