/* SPDX-License-Identifier: ISC */
/*
 * gauge.c - how much waits: asks each leaf that is ours, and tells the sum
 */
#include "gauge.h"

#include "base/clock.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "claim.h"

#include <stdlib.h>
#include <string.h>

enum { TAG_GAUGES = TAG_IGNORE + 1, TAG_LAG };

/* The oldest transaction that has written anything on this server, if one is open: no snapshot
 * shows it. Its age is told to members of pg_read_all_stats only, or if it is a role's own; others
 * see for how long it has been the oldest. */
static const char lag_question[] =
    "SELECT CASE WHEN pg_snapshot_xmin(s) < pg_snapshot_xmax(s) THEN pg_snapshot_xmin(s)::text "
    "END, (SELECT max(extract(epoch FROM clock_timestamp() - begun)) FROM (SELECT a.xact_start "
    "FROM pg_stat_activity AS a WHERE a.backend_xid IS NOT NULL UNION ALL SELECT p.prepared FROM "
    "pg_prepared_xacts AS p) AS opened (begun))::float8 FROM pg_current_snapshot() AS s";

struct gauger {
	struct session *session;
	struct asker asker;
	void (*gauged)(void *owner, const struct gauges *gauges);
	void *owner;
	struct gauges sum; /* so far */
	size_t answers_left;
	char oldest[24];  /* the transaction that was the oldest; "": none was open */
	int64_t since_us; /* seen as such */
};

void gauger_ask(struct gauger *gauger, int64_t low_watermark)
{
	struct pg_int8 first = claim_above(low_watermark);
	struct pg_param params[2] = {pg_param_int8(&first)};
	bool position = session_shape(gauger->session)->position;
	gauger->sum = (struct gauges){.position_lag_seconds = -1};
	gauger->answers_left = session_own_count(gauger->session) + position;
	session_ask_own_leaves(&gauger->asker, TAG_GAUGES, "gauges", params, 1, false);
	if (position)
		session_ask_text(&gauger->asker, TAG_LAG, lag_question, NULL, 0);
	session_sync(gauger->session);
}

/* Of what is beyond the cap the ids tell: those since the first, and of them our shards' part. */
static double depth(const struct gauger *gauger, double count, double first, double drawn)
{
	const struct shards *shards = session_shards(gauger->session);
	int ours = session_shape(gauger->session)->partitioned ? 1 : shards_owned(shards);
	double estimate = (drawn - first + 1) * ours / shards->count;
	return count > (double)GAUGE_CAP && estimate > count ? estimate : count;
}

static void on_lag(struct gauger *gauger, const PGresult *result)
{
	const char *oldest = PQgetvalue(result, 0, 0);
	int64_t now = clock_monotonic_us();
	double told = strtod(PQgetvalue(result, 0, 1), NULL);
	if (strcmp(oldest, gauger->oldest) != 0)
		gauger->since_us = now;
	text_print(gauger->oldest, sizeof(gauger->oldest), "%s", oldest);
	double seen = (double)(now - gauger->since_us) / 1e6;
	gauger->sum.position_lag_seconds = oldest[0] == '\0' ? 0 : told > seen ? told : seen;
}

static void on_gauges(struct gauger *gauger, const PGresult *result)
{
	struct gauges *sum = &gauger->sum;
	double count = strtod(PQgetvalue(result, 0, 0), NULL);
	double first = strtod(PQgetvalue(result, 0, 1), NULL);
	double age = strtod(PQgetvalue(result, 0, 2), NULL);
	double drawn = strtod(PQgetvalue(result, 0, 3), NULL);
	sum->depth += depth(gauger, count, first, drawn);
	if (age > sum->oldest_age_seconds)
		sum->oldest_age_seconds = age;
}

static void on_answered(void *part, int tag, PGresult *result)
{
	struct gauger *gauger = part;
	if (tag == TAG_LAG)
		on_lag(gauger, result);
	else
		on_gauges(gauger, result);
	PQclear(result);
	if (--gauger->answers_left == 0)
		gauger->gauged(gauger->owner, &gauger->sum);
}

struct gauger *gauger_new(struct session *session,
			  void (*gauged)(void *owner, const struct gauges *gauges), void *owner)
{
	static const struct asker_ops ops = {on_answered, NULL, NULL};
	struct gauger *gauger = xcalloc(1, sizeof(*gauger));
	gauger->session = session;
	gauger->asker = session_join(session, &ops, gauger);
	gauger->gauged = gauged;
	gauger->owner = owner;
	return gauger;
}

void gauger_free(struct gauger **gauger)
{
	free(*gauger);
	*gauger = NULL;
}
