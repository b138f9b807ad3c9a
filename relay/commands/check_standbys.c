/* SPDX-License-Identifier: ISC */
/*
 * check_standbys.c - `check`: what outbox.publish_after rests on
 */
#include "base/xalloc.h"
#include "check_subject.h"
#include "postgres.h"

#include <stdlib.h>

/* Without a row nobody waits. */
static const char SERVER_SQL[] =
    "SELECT current_user AS role, pg_has_role('pg_read_all_stats', 'USAGE') AS sees, $1::text,"
    " $2::text";

/* $1: those that are named; the others are told behind them, but for pg_receivewal, which nobody
 * can promote and which tells of no replay. */
static const char STANDBYS_SQL[] =
    "SELECT coalesce(s.name, r.application_name) AS name, s.name IS NOT NULL AS named,"
    " count(r.pid) AS sessions, coalesce(bool_and(r.state = 'streaming'), false) AS streams"
    "  FROM unnest(string_to_array($1, chr(31))) AS s(name) FULL JOIN pg_stat_replication AS r"
    "  ON lower(r.application_name) = lower(s.name)"
    " WHERE s.name IS NOT NULL OR r.replay_lsn IS NOT NULL"
    " GROUP BY 1, 2 ORDER BY 2 DESC, 1";

static void tell_named(const struct subject *s, const PGresult *result, int row, bool needed)
{
	const char *name = pgsync_text(result, row, "name");
	int64_t sessions = pgsync_number(result, row, "sessions");
	enum check_level level = needed ? CHECK_ERROR : CHECK_WARN;

	if (sessions == 0)
		check_add(s->check, level,
			  "start it, or see that application_name in its primary_conninfo is this "
			  "name",
			  "standby %s is not connected", name);
	else if (!pgsync_bool(result, row, "streams"))
		check_add(s->check, level, "wait until it has caught up",
			  "standby %s is not streaming", name);
	else if (sessions > 1)
		check_warn(s->check, "give each an application_name of its own",
			   "%lld standbys are called %s: the slower one counts",
			   (long long)sessions, name);
}

/* The rest of them. */
static void tell_other(const struct subject *s, const PGresult *result, int row)
{
	check_warn(s->check, "name it in outbox.publish_standbys, or never promote it",
		   "standby %s is not asked: were it promoted, it might lack what is published",
		   pgsync_text(result, row, "name"));
}

static int64_t streaming(const PGresult *result)
{
	int64_t count = 0;

	for (int row = 0; row < PQntuples(result); row++)
		count += pgsync_bool(result, row, "named") && pgsync_bool(result, row, "streams");
	return count;
}

static void judge(const struct subject *s, const struct config_standbys *standbys,
		  const PGresult *result)
{
	bool enough = streaming(result) >= standbys->needed;

	for (int row = 0; row < PQntuples(result); row++)
		if (pgsync_bool(result, row, "named"))
			tell_named(s, result, row, !enough);
		else
			tell_other(s, result, row);
	if (enough)
		check_ok(s->check,
			 "events are published once %lld of %zu standbys have them; at a failover "
			 "promote %s",
			 (long long)standbys->needed, standbys->names.count,
			 (size_t)standbys->needed == standbys->names.count
			     ? "any of them"
			     : "the one that has most");
}

static void check_each(const struct subject *s)
{
	struct config_standbys standbys;
	struct error ignored; /* it was read before */
	const char *params[1];
	PGresult *result;
	char *names;

	config_standbys_read(s->config->outbox.publish_standbys, &standbys, &ignored);
	names = config_standbys_join(&standbys);
	params[0] = names;
	result = subject_query(s, "looking at standbys", STANDBYS_SQL, 1, params);
	if (result != NULL)
		judge(s, &standbys, result);
	PQclear(result);
	free(names);
	config_standbys_free(&standbys);
}

static void judge_rights(const struct subject *s, const PGresult *server)
{
	const char *role = pgsync_text(server, 0, "role");
	char *grant = xasprintf("GRANT pg_read_all_stats TO \"%s\"", role);

	if (!pgsync_bool(server, 0, "sees"))
		check_error(s->check, grant,
			    "role %s may not see how far standbys are: nothing would be published",
			    role);
	else
		check_each(s);
	free(grant);
}

void check_standbys(const struct subject *s)
{
	int after = s->config->outbox.publish_after;
	PGresult *server;

	if (after == PUBLISH_AFTER_FLUSH)
		check_ok(s->check, "events are published once the server has flushed them");
	if (after != PUBLISH_AFTER_STANDBY)
		return;
	server = subject_ask(s, "looking at the server", SERVER_SQL);
	if (server == NULL)
		return;
	judge_rights(s, server);
	PQclear(server);
}
