/* SPDX-License-Identifier: ISC */
/*
 * ranges.c - partitions by range: made ahead and dropped behind
 */
#include "ranges.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/pgname.h"
#include "base/xalloc.h"
#include "passing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TAG_KEEPER = TAG_IGNORE + 1, TAG_MADE, TAG_DROPPED, TAG_AHEAD };

/* How often it looks; how soon again after there was something to do, and how late if a lock was
 * not to be had, since writers wait with us. */
enum {
	LOOK_US = 10 * 1000 * 1000,
	AGAIN_US = 1000 * 1000,
	LOCKED_US = 60 * 1000 * 1000,
	LOG_US = 600 * 1000 * 1000
};

enum keeper { KEEPER_UNKNOWN, KEEPER_NOBODY, KEEPER_RELAY, KEEPER_PARTMAN };

struct ranges {
	struct session *session;
	struct asker asker;
	struct source *source;
	enum keeper keeper; /* of this session */
	bool told;	    /* who it is; outlives the session */
	int64_t look_us;    /* not before */
	bool changed;	    /* by this look; so told at its end */
	struct log_limit refused_log, waits_log, untold_log, none_log;
};

static bool in_parts(const struct ranges *ranges)
{
	const struct outbox_shape *shape = session_shape(ranges->session);
	for (size_t i = 0; i < shape->leaf_count; i++)
		if (shape->leaves[i].parted)
			return true;
	return false;
}

bool ranges_leave_rows(const struct ranges *ranges)
{
	return !in_parts(ranges) || ranges->keeper == KEEPER_NOBODY;
}

/* A transaction each: one waits for a lock, or is refused, without the others. */
static void ask(struct ranges *ranges, int tag, char *sql)
{
	session_ask_text(&ranges->asker, tag, sql, NULL, 0);
	session_sync(ranges->session);
	free(sql);
}

/* With the columns that say how old a row is, and which rows are the last. */
static char *drop_sql(const struct ranges *ranges, int64_t low_watermark)
{
	const struct outbox_shape *shape = session_shape(ranges->session);
	char *created = pgname_literal(shape->names->created_at);
	char *id = pgname_literal(shape->names->id);
	char *sql =
	    xasprintf("CALL outbox_relay.drop_partitions(%u::oid, %s::name, %s::name, %lld, %lld)",
		      shape->oid, created, id, (long long)low_watermark,
		      (long long)session_config(ranges->session)->outbox.retention_ms);
	free(created);
	free(id);
	return sql;
}

static void look(struct ranges *ranges, bool drops, int64_t low_watermark)
{
	const struct config *config = session_config(ranges->session);
	uint32_t outbox = session_shape(ranges->session)->oid;
	if (!in_parts(ranges))
		return;
	if (ranges->keeper == KEEPER_UNKNOWN)
		ask(ranges, TAG_KEEPER,
		    xasprintf("SELECT o.partition_step IS NOT NULL, "
			      "outbox_relay.kept_by_partman(o.outbox) FROM outbox_relay.outboxes "
			      "AS o WHERE o.outbox = %u::oid",
			      outbox));
	if (clock_monotonic_us() < ranges->look_us)
		return;
	ranges->look_us = clock_monotonic_us() + LOOK_US;
	ask(ranges, TAG_MADE,
	    xasprintf("SELECT outbox_relay.make_partitions(%u::oid, %lld)", outbox,
		      (long long)config->outbox.partitions_ahead));
	if (drops)
		ask(ranges, TAG_DROPPED, drop_sql(ranges, low_watermark));
	ask(ranges, TAG_AHEAD, xasprintf("SELECT outbox_relay.partitions_ahead(%u::oid)", outbox));
}

void ranges_make(struct ranges *ranges)
{
	look(ranges, false, 0);
}

void ranges_run(struct ranges *ranges, int64_t low_watermark)
{
	look(ranges, session_shards(ranges->session)->owned[0], low_watermark);
}

/* ---- answers ---- */

static const char *table_of(const struct ranges *ranges)
{
	return session_config(ranges->session)->outbox.table;
}

/* Once, since sessions come and go with partitions. */
static void tell_keeper(struct ranges *ranges, bool managed, bool partman)
{
	if (ranges->told)
		return;
	ranges->told = true;
	if (partman)
		log_fact(LOG_INFO, "partitions_kept",
			 LOG_FIELDS(field_text("keeper", "pg_partman")),
			 "pg_partman makes and drops the partitions of table %s; the relay only "
			 "claims from them",
			 table_of(ranges));
	else if (!managed)
		log_fact(LOG_INFO, "partitions_kept", LOG_FIELDS(field_text("keeper", "nobody")),
			 "the relay makes and drops no partitions of table %s; see that there are "
			 "enough, or run outbox-relay migrate --partition-by",
			 table_of(ranges));
}

static void on_keeper(struct ranges *ranges, const PGresult *result)
{
	bool managed = PQntuples(result) > 0 && PQgetvalue(result, 0, 0)[0] == 't';
	/* Whether it is pg_partman's may be hidden; then it is. */
	bool partman = PQntuples(result) > 0 && PQgetvalue(result, 0, 1)[0] != 'f';
	ranges->keeper = managed ? KEEPER_RELAY : partman ? KEEPER_PARTMAN : KEEPER_NOBODY;
	tell_keeper(ranges, managed, partman && !managed);
}

/* Whether the partitions are others now; so below, too. */
static bool on_made(struct ranges *ranges, const PGresult *result)
{
	int made = atoi(PQgetvalue(result, 0, 0));
	if (made == 0)
		return false;
	ranges->look_us = clock_monotonic_us() + AGAIN_US;
	log_fact(LOG_INFO, "partitions_made", LOG_FIELDS(field_number("count", made)),
		 "made %d partitions of table %s ahead", made, table_of(ranges));
	return true;
}

/* One a line. */
static void tell_dropped(const char *names)
{
	while (*names != '\0') {
		size_t size = strcspn(names, "\n");
		char *name = xasprintf("%.*s", (int)size, names);
		log_fact(LOG_INFO, "partition_dropped", LOG_FIELDS(field_text("partition", name)),
			 "dropped partition %s, whose events are all published", name);
		free(name);
		names += size + (names[size] != '\0');
	}
}

static void tell_waits(struct ranges *ranges, const char *lock)
{
	ranges->look_us = clock_monotonic_us() + LOCKED_US;
	if (log_limit_due(&ranges->waits_log, clock_monotonic_us(), LOG_US))
		log_fact(LOG_INFO, "partition_waits", LOG_FIELDS(field_text("lock", lock)),
			 "a partition whose events are all published waits to be dropped: %s was "
			 "not to be had; it is tried again%s",
			 lock, ranges->waits_log.note);
}

static void tell_untold(struct ranges *ranges, const char *name)
{
	if (log_limit_due(&ranges->untold_log, clock_monotonic_us(), LOG_US))
		log_fact(LOG_WARNING, "partition_stays", LOG_FIELDS(field_text("partition", name)),
			 "partition %s stays, though its events are all published: in its last "
			 "rows no time says how old they are; name a column that does in "
			 "outbox.columns.created_at, correct times that lie in the future, or "
			 "drop the partition yourself%s",
			 name, ranges->untold_log.note);
}

/* What was dropped, which lock was not to be had, and what stays; each may be NULL. */
static bool on_dropped(struct ranges *ranges, const PGresult *result)
{
	if (!PQgetisnull(result, 0, 0)) {
		ranges->look_us = clock_monotonic_us() + AGAIN_US;
		tell_dropped(PQgetvalue(result, 0, 0));
		return true;
	}
	if (!PQgetisnull(result, 0, 1))
		tell_waits(ranges, PQgetvalue(result, 0, 1));
	if (!PQgetisnull(result, 0, 2))
		tell_untold(ranges, PQgetvalue(result, 0, 2));
	return false;
}

static void on_ahead(struct ranges *ranges, const PGresult *result)
{
	double ahead = PQgetisnull(result, 0, 0) ? -1 : strtod(PQgetvalue(result, 0, 0), NULL);
	ranges->source->partitions_ahead = ahead;
	if (ahead == 0 && log_limit_due(&ranges->none_log, clock_monotonic_us(), LOG_US))
		log_fact(LOG_ERROR, "partitions_run_out", LOG_FIELDS(field_number("ahead", 0)),
			 "table %s has no partition ahead: inserts fail soon, or do already; make "
			 "partitions%s",
			 table_of(ranges), ranges->none_log.note);
}

/* All answers are there. */
static void end_look(struct ranges *ranges)
{
	if (ranges->changed)
		session_renew(ranges->session,
			      "its statements are made anew, since its partitions have changed");
}

static void on_answered(void *part, int tag, PGresult *result)
{
	struct ranges *ranges = part;
	if (tag == TAG_KEEPER)
		on_keeper(ranges, result);
	else if (tag == TAG_MADE)
		ranges->changed |= on_made(ranges, result);
	else if (tag == TAG_DROPPED)
		ranges->changed |= on_dropped(ranges, result);
	else
		on_ahead(ranges, result);
	PQclear(result);
	if (tag == TAG_AHEAD)
		end_look(ranges);
}

/* Events go out without it. A lock that does not come is tried for again. */
static bool on_refused(void *part, const struct pg_failure *failure)
{
	struct ranges *ranges = part;
	if (!passing_kind(failure->state) &&
	    log_limit_due(&ranges->refused_log, clock_monotonic_us(), LOG_US))
		log_fact(LOG_WARNING, "partitions_refused",
			 LOG_FIELDS(field_text("sqlstate", failure->state)),
			 "partitions of table %s cannot be %s: %s; remove the cause, or make and "
			 "drop them yourself%s",
			 table_of(ranges),
			 failure->tag == TAG_DROPPED ? "dropped"
			 : failure->tag == TAG_MADE  ? "made"
						     : "counted",
			 failure->why, ranges->refused_log.note);
	if (failure->tag == TAG_AHEAD)
		end_look(ranges);
	return true;
}

static void on_lost(void *part)
{
	struct ranges *ranges = part;
	ranges->keeper = KEEPER_UNKNOWN;
	ranges->changed = false;
}

/* ---- making one ---- */

struct ranges *ranges_new(struct session *session, struct source *source)
{
	static const struct asker_ops ops = {on_answered, on_refused, on_lost};
	struct ranges *ranges = xcalloc(1, sizeof(*ranges));
	ranges->session = session;
	ranges->asker = session_join(session, &ops, ranges);
	ranges->source = source;
	source->partitions_ahead = -1;
	return ranges;
}

void ranges_free(struct ranges **ranges)
{
	free(*ranges);
	*ranges = NULL;
}
