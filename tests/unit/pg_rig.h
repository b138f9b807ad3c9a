/* SPDX-License-Identifier: ISC */
/*
 * pg_rig.h - a session under test: what it told, in order, and how long to let it talk
 */
#ifndef PG_RIG_H
#define PG_RIG_H

#include "base/loop.h"
#include "fake_postgres.h"
#include "postgres.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* What the session told, in order: "connected 1 2 notified failed". */
static struct loop *loop;
static struct pg *pg;
static char told[512], why[512];
static bool permanent;
static char sqlstate[6];
static int failed_tag;
static size_t bytes;
static const char *stop_at;  /* the loop ends once told ends so */
static const char *close_at; /* the session is closed from inside this callback */
static struct fake fake;     /* whom the session talks to */
static bool inside;	     /* an ask is under way */
static void (*on_connect)(void);

enum { ASKS_MORE = 6 };
static void (*on_more)(void); /* with the answer of that tag */

static void tell(const char *what)
{
	assert_false(inside);
	snprintf(told + strlen(told), sizeof(told) - strlen(told), "%s%s", told[0] ? " " : "",
		 what);
	if (close_at != NULL && strcmp(close_at, what) == 0)
		pg_close(&pg);
	size_t len = strlen(told), end = strlen(stop_at);
	if (len >= end && strcmp(told + len - end, stop_at) == 0)
		loop_stop(loop);
}

static void on_connected(void *owner)
{
	(void)owner;
	if (on_connect != NULL)
		on_connect();
	tell("connected");
}

static void on_answered(void *owner, int tag, PGresult *result)
{
	char text[16];
	(void)owner;
	for (int i = 0; i < PQntuples(result); i++)
		bytes += (size_t)PQgetlength(result, i, 0);
	PQclear(result);
	snprintf(text, sizeof(text), "%d", tag);
	if (tag == ASKS_MORE && on_more != NULL)
		on_more();
	tell(text);
}

static void on_notified(void *owner, const char *channel, const char *payload, int sender)
{
	(void)owner;
	(void)sender;
	assert_string_equal(channel, "bell");
	assert_string_equal(payload, "17");
	tell("notified");
}

static void on_failed(void *owner, const struct pg_failure *failure)
{
	(void)owner;
	snprintf(why, sizeof(why), "%s", failure->why);
	snprintf(sqlstate, sizeof(sqlstate), "%s", failure->state);
	permanent = failure->permanent;
	failed_tag = failure->tag;
	tell("failed");
}

static bool go_on; /* after an ask that is refused */
static void (*on_refusal)(void);

static bool on_refused(void *owner, const struct pg_failure *failure)
{
	(void)owner;
	if (!go_on)
		return false;
	snprintf(sqlstate, sizeof(sqlstate), "%s", failure->state);
	failed_tag = failure->tag;
	if (on_refusal != NULL)
		on_refusal();
	tell("refused");
	return true;
}

static const struct pg_events events = {on_connected, on_answered, on_notified, on_refused,
					on_failed};

static void give_up(void *arg)
{
	(void)arg;
	snprintf(why, sizeof(why), "no end within ten seconds");
	loop_stop(loop);
}

static void stop(void *arg)
{
	(void)arg;
	loop_stop(loop);
}

static void run_for(int64_t microseconds, void (*then)(void *arg))
{
	struct loop_timer *timer = loop_timer_new(loop, then, NULL);
	loop_timer_set(timer, microseconds);
	loop_run(loop);
	loop_timer_free(&timer);
}

static const char rest[] = "user=u dbname=d sslmode=disable gssencmode=disable";

static void converse_with(const char *where, const char *until)
{
	char dsn[256];
	snprintf(dsn, sizeof(dsn), "%s %s", where, rest);
	stop_at = until;
	pg = pg_open(loop, &(struct pg_login){.dsn = dsn}, &events, NULL);
	assert_string_equal(told, "");
	run_for(10 * 1000 * 1000, give_up);
}

/* Runs the loop until this much was told, then a little on: nothing more may come. */
__attribute__((unused)) static void converse(void (*script)(int fd), const char *until)
{
	char where[64];
	fake_start(&fake, script);
	snprintf(where, sizeof(where), "host=127.0.0.1 port=%d", fake.port);
	converse_with(where, until);
	size_t len = strlen(told);
	run_for(20 * 1000, stop);
	assert_int_equal(strlen(told), len);
	pg_close(&pg);
	assert_null(pg);
	fake_stop(&fake);
}

static int setup(void **state)
{
	(void)state;
	loop = loop_new();
	memset(told, 0, sizeof(told));
	memset(why, 0, sizeof(why));
	permanent = false;
	sqlstate[0] = '\0';
	failed_tag = 0;
	bytes = 0;
	close_at = NULL;
	go_on = false;
	on_connect = on_more = on_refusal = NULL;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	loop_free(&loop);
	return 0;
}

#endif
