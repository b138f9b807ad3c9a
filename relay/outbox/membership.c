/*
 * membership.c - this relay among the others: asks for locks, tells the group what they say
 * (group.c) and carries out what it plans
 */
#include "base/clock.h"
#include "base/failpoints.h"
#include "base/log.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "internal.h"
#include "outbox/locks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* So many keys in a row that are occupied are no accident. */
enum { JOINS = 4, OBSTACLE_LOG_US = 60 * 1000 * 1000 };

/* ---- telling ---- */

/* What claims need to know of the shards, once they have changed. */
static void refresh_owned(struct outbox *outbox)
{
	outbox->source.shards = outbox->group.owned;
	session_own(outbox->session, &outbox->group.owned);
}

/* "OID fleet": another relay has come. "OID free 8 {0,3}": these of 8 shards were handed over. */
static void tell_others(struct outbox *outbox, const struct shards *given)
{
	char *which = given ? shards_text(given) : NULL;
	char *payload = given ? xasprintf("%u free %d %s", outbox->shape->oid,
					  group_layout(&outbox->group), which)
			      : xasprintf("%u fleet", outbox->shape->oid);
	struct pg_param param = pg_param_text(payload);
	session_ask_text(&outbox->grouping, TAG_IGNORE, "SELECT pg_notify('outbox_relay', $1)",
			 &param, 1);
	free(which);
	free(payload);
}

void outbox_group_freed(struct outbox *outbox, const char *which, int sender)
{
	int layout = (int)strtol(which, (char **)&which, 10);
	struct shards shards;
	shards_clear(&shards, SHARDS_MAX);
	while (*which != '\0') {
		char *end;
		long shard = strtol(which, &end, 10);
		if (end != which && shard >= 0 && shard < SHARDS_MAX)
			shards.owned[shard] = true;
		which = *end != '\0' ? end + 1 : end;
	}
	group_freed(&outbox->group, sender, layout, &shards);
}

/* Of relays of another layout. */
static void tell_others_words(const struct outbox *outbox, int shards, char *why, size_t size)
{
	if (shards == 0)
		snprintf(why, size, "relays without order are at work; waiting for their end");
	else if (shards != group_layout(&outbox->group))
		snprintf(why, size, "relays with %d shard%s are at work; waiting for their end",
			 shards, shards == 1 ? "" : "s");
	else
		snprintf(why, size, "relays with %s are at work; waiting for their end",
			 outbox->shape->partitioned ? "other partitions of the outbox"
						    : "another route.key or other columns in it");
}

/* Of shards that others own, or are about to. */
static void tell_owners_words(const struct rebalance_view *view, char *why, size_t size)
{
	int count = rebalance_free(view);
	if (count > 0)
		snprintf(
		    why, size,
		    "%d of %d shards have no owner; they are taken unless it is back in a moment",
		    count, view->shards);
	else if (view->shards == 1)
		snprintf(why, size, "another relay owns the shard");
	else
		snprintf(why, size, "other relays own all %d shards", view->shards);
}

static struct source_peers source_peers(const struct outbox *outbox)
{
	return (struct source_peers){outbox->others.healthy, outbox->others.suspect};
}

static void tell_busy(struct outbox *outbox, const struct group_view *view)
{
	struct source *source = &outbox->source;
	char why[sizeof(source->obstacle)];
	bool yields = false;
	if (view->previous) {
		snprintf(why, sizeof(why), "this relay's previous session still has its shards");
	} else if (source->obstacle[0] != '\0') {
		text_print(why, sizeof(why), "%s", source->obstacle);
	} else if (view->other_layout >= 0) {
		tell_others_words(outbox, view->other_layout, why, sizeof(why));
	} else if (view->shards.paused) {
		snprintf(why, sizeof(why), "the outbox is paused; outbox-relay resume goes on");
	} else if (outbox->group.unavailable) {
		yields = true;
		snprintf(why, sizeof(why),
			 "no Kafka broker answers here; other relays have the shards");
	} else {
		tell_owners_words(&view->shards, why, sizeof(why));
	}
	outbox_polled(outbox, POLL_BUSY);
	source->events->busy(source->owner, why, yields, source_peers(outbox));
}

/* Another session has a lock that only relays should take. Nothing but its end helps. */
static void find_obstacle(struct outbox *outbox, const struct group_view *view)
{
	char *text = outbox->source.obstacle;
	size_t size = sizeof(outbox->source.obstacle);
	text[0] = '\0';
	if (view->stranger[0] == '\0')
		return;
	if (view->occupied > 0)
		snprintf(text, size,
			 "%s is no relay and holds the lock of %d of %d shards, whose events wait; "
			 "end it",
			 view->stranger, view->occupied, view->shards.shards);
	else if (outbox->group.joins_failed >= JOINS)
		snprintf(text, size, "%s is no relay and has a lock of the relays; end it",
			 view->stranger);
	if (text[0] != '\0' &&
	    log_limit_due(&outbox->obstacle_log, clock_monotonic_us(), OBSTACLE_LOG_US))
		log_warning("%s%s", text, outbox->obstacle_log.note);
}

void outbox_group_acquired(struct outbox *outbox, bool gained)
{
	outbox_poll(outbox, (struct poll_input){.event = POLL_LOOKED,
						.has_bell = true,
						.has_peers = outbox->others.any,
						.gained = gained});
	outbox->source.events->acquired(outbox->source.owner, gained, source_peers(outbox));
}

static void tell(struct outbox *outbox, const struct group_view *view, bool gained)
{
	outbox->others = group_peers(&outbox->group, view);
	find_obstacle(outbox, view);
	if (shards_owned(&outbox->source.shards) == 0)
		tell_busy(outbox, view);
	else if (gained)
		outbox_open_probe(outbox);
	else
		outbox_group_acquired(outbox, false);
}

/* ---- the locks ---- */

static void ask_poll(struct outbox *outbox, enum tag tag)
{
	session_ask(&outbox->grouping, tag, "fleet", NULL, 0, false);
	session_sync(outbox->session);
}

static void ask_lock(struct outbox *outbox, const char *function, uint32_t key1, int32_t key2)
{
	char sql[160];
	snprintf(sql, sizeof(sql), "SELECT %s(%d, %d)", function, (int)key1, (int)key2);
	session_ask_text(&outbox->grouping, TAG_IGNORE, sql, NULL, 0);
}

static int32_t member_key(const struct outbox *outbox)
{
	return outbox_member_lock(group_layout(&outbox->group), outbox->group.unavailable,
				  outbox->member_salt);
}

/* A session that holds a key of ours cannot be waited for: it may be any. */
static void ask_membership(struct outbox *outbox)
{
	ask_lock(outbox, "pg_try_advisory_lock_shared", outbox->shape->oid, member_key(outbox));
}

static void end_membership(struct outbox *outbox)
{
	ask_lock(outbox, "pg_advisory_unlock_shared", outbox->shape->oid, member_key(outbox));
}

static void ask_mark(struct outbox *outbox)
{
	ask_lock(outbox, "pg_try_advisory_lock_shared", outbox->group.fingerprint,
		 outbox_layout_lock(outbox->layout_salt));
}

/* Under keys that are not occupied, it is hoped: the next poll tells. */
static void join_again(struct outbox *outbox, const struct group_plan *plan)
{
	unsigned salt = (unsigned)clock_monotonic_us() % OUTBOX_SALTS;
	if (plan->join) {
		outbox->member_salt = salt;
		ask_membership(outbox);
	}
	if (plan->mark) {
		outbox->layout_salt = salt;
		ask_mark(outbox);
	}
	if (plan->join || plan->mark)
		session_sync(outbox->session);
}

static void give(struct outbox *outbox, const struct shards *shards)
{
	FAILPOINT("before-handover");
	const char *unlock =
	    outbox->group.shared ? "pg_advisory_unlock_shared" : "pg_advisory_unlock";
	int layout = group_layout(&outbox->group);
	for (int k = 0; k < shards->count; k++)
		if (shards->owned[k])
			ask_lock(outbox, unlock, outbox->shape->oid, outbox_shard_lock(layout, k));
	group_gave(&outbox->group, shards);
	refresh_owned(outbox);
	tell_others(outbox, shards);
	session_sync(outbox->session);
	FAILPOINT("handed-over");
}

static void try_for(struct outbox *outbox, const struct shards *shards)
{
	char *wanted = shards_text(shards), sql[192];
	struct pg_param param = pg_param_text(wanted);
	snprintf(sql, sizeof(sql),
		 "SELECT k, pg_try_advisory_lock%s(%d, %d | k) FROM unnest($1::int4[]) AS k",
		 outbox->group.shared ? "_shared" : "", (int)outbox->shape->oid,
		 (int)outbox_shard_lock(group_layout(&outbox->group), 0));
	session_ask_text(&outbox->grouping, TAG_TRIED, sql, &param, 1);
	free(wanted);
	/* Relays of another layout that began at the same moment see our locks or we see theirs. */
	ask_poll(outbox, TAG_VERIFIED);
}

/* ---- what they say ---- */

static bool is_true(const PGresult *result, int row, int column)
{
	return PQgetvalue(result, row, column)[0] == 't';
}

static void read_lock(const struct group *group, struct group_view *view, const PGresult *result,
		      int row)
{
	bool stranger = !PQgetisnull(result, row, GROUP_STRANGER);
	bool marked = !PQgetisnull(result, row, GROUP_FINGERPRINT);
	const char *fingerprint = PQgetvalue(result, row, GROUP_FINGERPRINT);
	struct group_lock lock = {
	    .key = (uint32_t)strtoul(PQgetvalue(result, row, GROUP_KEY), NULL, 10),
	    .session = {.pid = atoi(PQgetvalue(result, row, GROUP_PID)),
			.started_us = strtoll(PQgetvalue(result, row, GROUP_STARTED), NULL, 10)},
	    .fingerprint = marked ? strtoll(fingerprint, NULL, 10) : -1,
	    .stranger = stranger ? PQgetvalue(result, row, GROUP_STRANGER) : NULL,
	    .held = is_true(result, row, GROUP_HELD),
	    .exclusive = is_true(result, row, GROUP_EXCLUSIVE)};
	group_view_add(group, view, &lock);
}

/* False if the outbox is not there any more, or not the same. */
static bool read_view(const struct outbox *outbox, const PGresult *result, struct group_view *view)
{
	int rows = PQntuples(result);
	group_view_begin(&outbox->group, view, rows > 0 && is_true(result, 0, GROUP_PAUSED));
	for (int i = 0; i < rows; i++)
		if (!PQgetisnull(result, i, GROUP_KEY))
			read_lock(&outbox->group, view, result, i);
	return rows > 0 && is_true(result, 0, GROUP_SAME);
}

static void on_polled(struct outbox *outbox, PGresult *result)
{
	struct group_view view;
	struct group_plan plan;
	bool there = read_view(outbox, result, &view);
	PQclear(result);
	if (!there) {
		session_give_up(outbox->session, false,
				"another table has taken the outbox's name, its partitions have "
				"changed, or it has left schema outbox_relay");
		return;
	}
	group_polled(&outbox->group, &view, clock_monotonic_us(), &plan);
	join_again(outbox, &plan);
	if (shards_owned(&plan.give) > 0)
		give(outbox, &plan.give);
	if (shards_owned(&plan.take) > 0)
		try_for(outbox, &plan.take);
	else
		tell(outbox, &view, false);
}

static void on_tried(struct outbox *outbox, PGresult *result)
{
	for (int i = 0; i < PQntuples(result); i++)
		group_tried(&outbox->group, atoi(PQgetvalue(result, i, 0)), is_true(result, i, 1));
	PQclear(result);
}

static void on_verified(struct outbox *outbox, PGresult *result)
{
	struct group_view view;
	struct shards give_back;
	const struct shards *owned = &outbox->group.owned;
	read_view(outbox, result, &view);
	PQclear(result);
	bool gained = group_verified(&outbox->group, &view, &give_back);
	if (shards_owned(&give_back) > 0)
		give(outbox, &give_back);
	for (int k = 0; k < owned->count; k++)
		if (owned->owned[k])
			outbox_open_leaf(outbox, outbox->shape->partitioned ? (size_t)k : 0);
	session_sync(outbox->session);
	refresh_owned(outbox);
	tell(outbox, &view, gained);
}

void outbox_group_answered(void *part, int tag, PGresult *result)
{
	struct outbox *outbox = part;
	if (tag == TAG_GROUP)
		on_polled(outbox, result);
	else if (tag == TAG_TRIED)
		on_tried(outbox, result);
	else
		on_verified(outbox, result);
}

/* ---- coming and going ---- */

void outbox_group_look(struct outbox *outbox, bool unavailable, bool keeps)
{
	outbox->group.keeps = keeps;
	if (unavailable != outbox->group.unavailable) {
		end_membership(outbox);
		outbox->group.unavailable = unavailable;
		ask_membership(outbox);
		tell_others(outbox, NULL);
	}
	ask_poll(outbox, TAG_GROUP);
}

static int shard_count(const struct outbox *outbox)
{
	if (outbox->shape->partitioned)
		return (int)outbox->shape->leaf_count;
	return outbox->shape->competing ? 1 : (int)outbox->config->outbox.shards;
}

/* The server may not have noticed that a connection of ours is gone. What its session published is
 * settled in its shards, so no others are taken before it has ended. A session of the same role may
 * be ended without a right of its own (manual: pg_terminate_backend). */
static void end_previous_session(struct outbox *outbox)
{
	const struct session_id *previous = &outbox->group.previous;
	char sql[400];
	if (previous->pid == 0)
		return;
	snprintf(sql, sizeof(sql),
		 "SELECT pg_terminate_backend(a.pid) FROM pg_stat_get_activity(%d) AS a WHERE "
		 "a.usesysid = (SELECT oid FROM pg_roles WHERE rolname = current_user) "
		 "AND a.pid <> pg_backend_pid() AND " OUTBOX_SQL_STARTED " = %lld",
		 previous->pid, (long long)previous->started_us);
	session_ask_text(&outbox->grouping, TAG_IGNORE, sql, NULL, 0);
}

void outbox_group_join(struct outbox *outbox)
{
	bool shared = outbox->shape->competing;
	if (PLANTED("two-owners"))
		shared = true;
	group_join(&outbox->group, session_backend(outbox->session), shard_count(outbox), shared,
		   outbox_sql_fingerprint(outbox->shape), clock_monotonic_us());
	refresh_owned(outbox);
	ask_membership(outbox);
	ask_mark(outbox);
	end_previous_session(outbox);
	tell_others(outbox, NULL);
	session_sync(outbox->session);
	ask_poll(outbox, TAG_GROUP);
}

void outbox_group_leave(struct outbox *outbox)
{
	session_ask_text(&outbox->grouping, TAG_IGNORE, "SELECT pg_advisory_unlock_all()", NULL, 0);
	tell_others(outbox, &outbox->group.owned);
	session_sync(outbox->session);
}

void outbox_group_lost(void *part)
{
	struct outbox *outbox = part;
	group_lost(&outbox->group);
	shards_clear(&outbox->source.shards, outbox->source.shards.count);
	outbox->source.obstacle[0] = '\0';
}
