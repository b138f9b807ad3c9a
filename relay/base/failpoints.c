/* SPDX-License-Identifier: ISC */
/*
 * failpoints.c - failpoints and planted errors; in builds with -DPLANTS=ON only
 *
 * A name that is not listed here ends the process: no test is to pass because of a misspelling.
 */
#include "base/failpoints.h"

#include "base/log.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* In the order in which a relay comes to them. */
static const char *const failpoints[] = {
    "session-open",    "lock-got",	  "claim-sent",	     "claimed",
    "before-produce",  "first-produced",  "acknowledged",    "before-commit",
    "commit-sent",     "commit-answered", "before-recovery", "recovered",
    "before-handover", "handed-over",	  "letters-asked",   NULL,
};

/* Likewise, of one that delivers exactly once. */
static const char *const exactly_once[] = {
    "before-resolution",
    "before-resolved",
    "resolved",
    "ledger-written",
    "before-kafka-commit",
    "kafka-commit-sent",
    "kafka-commit-answered",
    NULL,
};

static const char *const errors[] = {
    "settle-before-ack",   /* the claim is committed before anything is published */
    "settle-on-stall",	   /* what is not acknowledged is committed instead of rolled back */
    "forget-acknowledged", /* what was acknowledged is forgotten with the session */
    "floor-past-writers",  /* the low watermark does not wait for writers under way */
    "claim-above-last",	   /* claims begin above the last id claimed */
    "two-owners",	   /* whose a shard is does not matter */
    "pass-over-locked",	   /* what others have locked does not hold back its key */
    "default-partitioner", /* librdkafka's, not Java's */
    "no-idempotence",	   /* what the client sends again may be there twice */
    "count-twice",	   /* in published_total */
    "null-is-empty",	   /* a payload of NULL becomes an empty one */
    "no-headers",	   /* but the id */
    "leak",		   /* what was settled is not given back */
    "publishes-parked",	   /* a claim does not look for letters of its keys */
    "passes-parked",	   /* later events of a batch go past one that parks their key */
    /* Of relays that deliver exactly once. */
    "abort-not-rebuilt",    /* what follows goes into the transaction that was given up */
    "unclean-trusted",	    /* behind a commit that took two requests the producer stays */
    "slot-unresolved",	    /* what a slot has in doubt is taken for nothing */
    "owns-in-doubt",	    /* shards are claimed from though another slot has some in doubt */
    "settles-own-shards",   /* of what a slot has in doubt only that of shards of ours */
    "number-left-out",	    /* the number of what is settled is not written with it */
    "settles-up-to",	    /* all ids up to the highest that the ledger has */
    "acknowledged-settled", /* what was acknowledged, whether it is committed or not */
    "ledger-before-fence",  /* the ledger is read before the earlier producer is fenced */
    NULL,
};

enum { NAME_MAX_SIZE = 64, PLANTED_MAX = 8 };

static struct {
	bool read;
	char failpoint[NAME_MAX_SIZE];
	int signal; /* 0: exit */
	unsigned left;
	char planted[PLANTED_MAX][NAME_MAX_SIZE];
	unsigned count;
} plan;

static void refuse(const char *variable, const char *value)
{
	fprintf(stderr, "%s: \"%s\" is not understood, see relay/base/failpoints.c\n", variable,
		value);
	abort();
}

static bool is_listed(const char *const *names, const char *name)
{
	while (*names != NULL && strcmp(*names, name) != 0)
		names++;
	return *names != NULL;
}

static bool is_failpoint(const char *name)
{
	return is_listed(failpoints, name) || is_listed(exactly_once, name);
}

static void read_failpoint(const char *variable)
{
	const char *value = getenv(variable);
	char action[8] = "";

	if (value == NULL)
		return;
	plan.left = 1;
	if (sscanf(value, "%63[^=]=%7[^:]:%u", plan.failpoint, action, &plan.left) < 2 ||
	    !is_failpoint(plan.failpoint))
		refuse(variable, value);
	if (strcmp(action, "kill") == 0)
		plan.signal = SIGKILL;
	else if (strcmp(action, "stop") == 0)
		plan.signal = SIGSTOP;
	else if (strcmp(action, "exit") != 0)
		refuse(variable, value);
}

static void read_errors(const char *variable)
{
	const char *value = getenv(variable);
	char name[NAME_MAX_SIZE];

	for (int length; value != NULL && sscanf(value, "%63[^,]%n", name, &length) == 1;
	     value += length + (value[length] == ',')) {
		if (!is_listed(errors, name) || plan.count == PLANTED_MAX)
			refuse(variable, name);
		strcpy(plan.planted[plan.count++], name);
		log_warning("planted error: %s", name);
	}
}

static void read_plan(void)
{
	if (plan.read)
		return;
	plan.read = true;
	read_failpoint("OUTBOX_RELAY_FAILPOINT");
	read_errors("OUTBOX_RELAY_PLANT");
}

void plants_pass(const char *failpoint)
{
	assert(is_failpoint(failpoint));
	read_plan();
	if (plan.left == 0 || strcmp(plan.failpoint, failpoint) != 0 || --plan.left > 0)
		return;
	log_warning("failpoint %s is reached", failpoint);
	if (plan.signal == 0)
		_exit(1);
	raise(plan.signal);
}

bool plants_planted(const char *error)
{
	assert(is_listed(errors, error));
	read_plan();
	for (unsigned i = 0; i < plan.count; i++)
		if (strcmp(plan.planted[i], error) == 0)
			return true;
	return false;
}
