/* SPDX-License-Identifier: ISC */
/*
 * membership.c - this relay among the others: asks for locks, tells the group what they say
 * (group.c) and carries out what it plans
 */
#include "membership.h"

#include "base/clock.h"
#include "base/failpoints.h"
#include "base/log.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "outbox/locks.h"
#include "roster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	TAG_POLLED = TAG_IGNORE + 1, /* who owns what */
	TAG_TRIED,		     /* which of the free shards we got */
	TAG_VERIFIED		     /* who owns what, once we have got some */
};

struct membership {
	struct session *session;
	struct asker asker;
	struct opening *opening;
	struct source *source;
	const struct membership_events *events;
	void *owner;
	struct group group; /* outlives the session */
	struct group_peers peers;
	struct roster roster;
	unsigned member_salt, layout_salt;
	struct log_limit obstacle_log;
};

/* So many keys in a row that are occupied are no accident. */
enum { JOINS = 4, OBSTACLE_LOG_US = 60 * 1000 * 1000 };

/* ---- telling ---- */

/* What claims need to know of the shards, once they have changed. */
static void refresh_owned(struct membership *membership)
{
	membership->source->shards = membership->group.owned;
	session_own(membership->session, &membership->group.owned);
}

static uint32_t oid_of(const struct membership *membership)
{
	return session_shape(membership->session)->oid;
}

/* payload is malloc'd, and freed. */
static void notify(struct membership *membership, char *payload)
{
	struct pg_param param = pg_param_text(payload);
	session_ask_text(&membership->asker, TAG_IGNORE, "SELECT pg_notify('outbox_relay', $1)",
			 &param, 1);
	free(payload);
}

/* "OID group": another relay has come. */
static void tell_change(struct membership *membership)
{
	notify(membership, xasprintf("%u group", oid_of(membership)));
}

/* "OID free 8 {0,3}": these of 8 shards were handed over. */
static void tell_given(struct membership *membership, const struct shards *given)
{
	char *which = shards_text(given);
	notify(membership, xasprintf("%u free %d %s", oid_of(membership),
				     group_layout(&membership->group), which));
	free(which);
}

void membership_freed(struct membership *membership, const char *which, int sender)
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
	group_freed(&membership->group, sender, layout, &shards);
}

/* Of relays of another layout. */
static void tell_others_words(const struct membership *membership, int shards, char *why,
			      size_t size)
{
	if (shards == 0)
		snprintf(why, size, "relays without order are at work; waiting for their end");
	else if (shards != group_layout(&membership->group))
		snprintf(why, size, "relays with %d shard%s are at work; waiting for their end",
			 shards, shards == 1 ? "" : "s");
	else
		snprintf(why, size, "relays with %s are at work; waiting for their end",
			 session_shape(membership->session)->partitioned
			     ? "other partitions of the outbox"
			     : "another route.key, other columns in it, or another "
			       "kafka.delivery");
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

static void tell_busy(struct membership *membership, const struct group_view *view)
{
	struct source *source = membership->source;
	char why[sizeof(source->obstacle)];
	bool yields = false;
	if (view->previous) {
		snprintf(why, sizeof(why), "this relay's previous session still has its shards");
	} else if (source->obstacle[0] != '\0') {
		text_print(why, sizeof(why), "%s", source->obstacle);
	} else if (view->other_layout >= 0) {
		tell_others_words(membership, view->other_layout, why, sizeof(why));
	} else if (view->shards.paused) {
		snprintf(why, sizeof(why), "the outbox is paused; outbox-relay resume goes on");
	} else if (membership->group.unavailable) {
		yields = true;
		snprintf(why, sizeof(why),
			 "no connection to Kafka here; other relays have the shards");
	} else {
		tell_owners_words(&view->shards, why, sizeof(why));
	}
	membership->events->busy(membership->owner, why, yields);
}

/* Another session has a lock that only relays should take. Nothing but its end helps. */
static void find_obstacle(struct membership *membership, const struct group_view *view)
{
	char *text = membership->source->obstacle;
	size_t size = sizeof(membership->source->obstacle);
	text[0] = '\0';
	if (view->stranger[0] == '\0')
		return;
	if (view->occupied > 0)
		snprintf(text, size,
			 "%s is no relay and holds the lock of %d of %d shards, whose events wait; "
			 "end it",
			 view->stranger, view->occupied, view->shards.shards);
	else if (membership->group.joins_failed >= JOINS)
		snprintf(text, size, "%s is no relay and has a lock of the relays; end it",
			 view->stranger);
	if (text[0] != '\0' &&
	    log_limit_due(&membership->obstacle_log, clock_monotonic_us(), OBSTACLE_LOG_US))
		log_fact(LOG_WARNING, "foreign_lock",
			 LOG_FIELDS(field_number("shards_occupied", view->occupied),
				    field_number("shards", view->shards.shards)),
			 "%s%s", text, membership->obstacle_log.note);
}

static void tell(struct membership *membership, const struct group_view *view, bool gained)
{
	membership->peers = group_peers(&membership->group, view);
	membership->source->paused = view->shards.paused;
	find_obstacle(membership, view);
	if (shards_owned(&membership->source->shards) == 0)
		tell_busy(membership, view);
	else if (gained)
		opening_probe(membership->opening);
	else
		membership->events->kept(membership->owner);
}

/* ---- the locks ---- */

static void ask_poll(struct membership *membership, int tag)
{
	session_compare(membership->session);
	session_ask(&membership->asker, tag, "group", NULL, 0, false);
	session_sync(membership->session);
}

static void ask_lock(struct membership *membership, const char *function, uint32_t key1,
		     int32_t key2)
{
	char sql[160];
	snprintf(sql, sizeof(sql), "SELECT %s(%d, %d)", function, (int)key1, (int)key2);
	session_ask_text(&membership->asker, TAG_IGNORE, sql, NULL, 0);
}

static int32_t member_key(const struct membership *membership)
{
	return outbox_member_lock(group_layout(&membership->group), membership->group.unavailable,
				  membership->member_salt);
}

/* A session that holds a key of ours cannot be waited for: it may be any. */
static void ask_membership(struct membership *membership)
{
	ask_lock(membership, "pg_try_advisory_lock_shared", session_shape(membership->session)->oid,
		 member_key(membership));
}

static void end_membership(struct membership *membership)
{
	ask_lock(membership, "pg_advisory_unlock_shared", session_shape(membership->session)->oid,
		 member_key(membership));
}

static void ask_mark(struct membership *membership)
{
	ask_lock(membership, "pg_try_advisory_lock_shared", membership->group.fingerprint,
		 outbox_layout_lock(membership->layout_salt));
}

/* Under keys that are not occupied, it is hoped: the next poll tells. */
static void join_again(struct membership *membership, const struct group_plan *plan)
{
	unsigned salt = (unsigned)clock_monotonic_us() % OUTBOX_SALTS;
	if (plan->join) {
		membership->member_salt = salt;
		ask_membership(membership);
	}
	if (plan->mark) {
		membership->layout_salt = salt;
		ask_mark(membership);
	}
	if (plan->join || plan->mark)
		session_sync(membership->session);
}

/* False: there is no session any more. */
static bool give(struct membership *membership, const struct shards *shards)
{
	FAILPOINT("before-handover");
	if (!membership->events->given(membership->owner, shards))
		return false;
	const char *unlock =
	    membership->group.shared ? "pg_advisory_unlock_shared" : "pg_advisory_unlock";
	int layout = group_layout(&membership->group);
	for (int k = 0; k < shards->count; k++)
		if (shards->owned[k])
			ask_lock(membership, unlock, session_shape(membership->session)->oid,
				 outbox_shard_lock(layout, k));
	group_gave(&membership->group, shards);
	refresh_owned(membership);
	tell_given(membership, shards);
	session_sync(membership->session);
	FAILPOINT("handed-over");
	return true;
}

static void try_for(struct membership *membership, const struct shards *shards)
{
	char *wanted = shards_text(shards), sql[192];
	struct pg_param param = pg_param_text(wanted);
	snprintf(sql, sizeof(sql),
		 "SELECT k, pg_try_advisory_lock%s(%d, %d | k) FROM unnest($1::int4[]) AS k",
		 membership->group.shared ? "_shared" : "",
		 (int)session_shape(membership->session)->oid,
		 (int)outbox_shard_lock(group_layout(&membership->group), 0));
	session_ask_text(&membership->asker, TAG_TRIED, sql, &param, 1);
	free(wanted);
	/* Relays of another layout that began at the same moment see our locks or we see theirs. */
	ask_poll(membership, TAG_VERIFIED);
}

/* ---- what they say ---- */

static bool is_true(const PGresult *result, int row, int column)
{
	return PQgetvalue(result, row, column)[0] == 't';
}

static void read_lock(struct membership *membership, struct group_view *view,
		      const PGresult *result, int row)
{
	const struct group *group = &membership->group;
	bool is_known = !PQgetisnull(result, row, GROUP_CLIENT);
	bool stranger = !PQgetisnull(result, row, GROUP_STRANGER);
	bool marked = !PQgetisnull(result, row, GROUP_FINGERPRINT);
	const char *fingerprint = PQgetvalue(result, row, GROUP_FINGERPRINT);
	struct group_lock lock = {
	    .key = (uint32_t)strtoul(PQgetvalue(result, row, GROUP_KEY), NULL, 10),
	    .session = {.pid = atoi(PQgetvalue(result, row, GROUP_PID)),
			.start = strtoll(PQgetvalue(result, row, GROUP_STARTED), NULL, 10)},
	    .fingerprint = marked ? strtoll(fingerprint, NULL, 10) : -1,
	    .stranger = stranger ? PQgetvalue(result, row, GROUP_STRANGER) : NULL,
	    .held = is_true(result, row, GROUP_HELD),
	    .exclusive = is_true(result, row, GROUP_EXCLUSIVE)};
	group_view_add(group, view, &lock);
	roster_add(&membership->roster, &lock, PQgetvalue(result, row, GROUP_APPLICATION),
		   is_known ? PQgetvalue(result, row, GROUP_CLIENT) : NULL,
		   lock.session.pid == group->self);
}

/* False if the outbox is not there any more, or not the same. */
static bool read_view(struct membership *membership, const PGresult *result,
		      struct group_view *view)
{
	int rows = PQntuples(result);
	struct roster *roster = &membership->roster;
	roster_clear(roster);
	group_view_begin(&membership->group, view, rows > 0 && is_true(result, 0, GROUP_PAUSED));
	for (int i = 0; i < rows; i++)
		if (!PQgetisnull(result, i, GROUP_KEY))
			read_lock(membership, view, result, i);
	membership->source->relays = roster->relays;
	membership->source->relay_count = roster->count;
	return rows > 0 && is_true(result, 0, GROUP_SAME);
}

static void on_polled(struct membership *membership, PGresult *result)
{
	struct group_view view;
	struct group_plan plan;
	bool there = read_view(membership, result, &view);
	PQclear(result);
	if (!there) {
		session_renew(membership->session,
			      "another table has taken the outbox's name, its partitions have "
			      "changed, or it has left schema outbox_relay");
		return;
	}
	group_polled(&membership->group, &view, clock_monotonic_us(), &plan);
	join_again(membership, &plan);
	if (shards_owned(&plan.give) > 0 && !give(membership, &plan.give))
		return;
	if (shards_owned(&plan.take) > 0)
		try_for(membership, &plan.take);
	else
		tell(membership, &view, false);
}

static void on_tried(struct membership *membership, PGresult *result)
{
	for (int i = 0; i < PQntuples(result); i++)
		group_tried(&membership->group, atoi(PQgetvalue(result, i, 0)),
			    is_true(result, i, 1));
	PQclear(result);
}

static void on_verified(struct membership *membership, PGresult *result)
{
	struct group_view view;
	struct shards give_back;
	const struct shards *owned = &membership->group.owned;
	read_view(membership, result, &view);
	PQclear(result);
	bool gained = group_verified(&membership->group, &view, &give_back);
	if (shards_owned(&give_back) > 0 && !give(membership, &give_back))
		return;
	for (int k = 0; k < owned->count; k++)
		if (owned->owned[k])
			opening_prepare(membership->opening,
					session_shape(membership->session)->partitioned ? (size_t)k
											: 0);
	session_sync(membership->session);
	refresh_owned(membership);
	tell(membership, &view, gained);
}

static void on_answered(void *part, int tag, PGresult *result)
{
	struct membership *membership = part;
	if (tag == TAG_POLLED)
		on_polled(membership, result);
	else if (tag == TAG_TRIED)
		on_tried(membership, result);
	else
		on_verified(membership, result);
}

/* ---- coming and going ---- */

void membership_poll(struct membership *membership, bool unavailable, bool keeps)
{
	membership->group.keeps = keeps;
	if (unavailable != membership->group.unavailable) {
		end_membership(membership);
		membership->group.unavailable = unavailable;
		ask_membership(membership);
		tell_change(membership);
	}
	ask_poll(membership, TAG_POLLED);
}

static int shard_count(const struct membership *membership)
{
	if (session_shape(membership->session)->partitioned)
		return (int)session_shape(membership->session)->leaf_count;
	return session_shape(membership->session)->competing
		   ? 1
		   : (int)session_config(membership->session)->outbox.shards;
}

/* The server may not have noticed that a connection of ours is gone. What its session published is
 * settled in its shards, so no others are taken before it has ended. A session of the same role may
 * be ended without a right of its own (manual: pg_terminate_backend). */
static void end_previous_session(struct membership *membership)
{
	const struct session_id *previous = &membership->group.previous;
	char sql[400];
	if (previous->pid == 0)
		return;
	snprintf(sql, sizeof(sql),
		 "SELECT pg_terminate_backend(a.pid) FROM pg_stat_get_activity(%d) AS a WHERE "
		 "a.usesysid = (SELECT oid FROM pg_roles WHERE rolname = current_user) "
		 "AND a.pid <> pg_backend_pid() AND " OUTBOX_SQL_START " = %lld",
		 previous->pid, (long long)previous->start);
	session_ask_text(&membership->asker, TAG_IGNORE, sql, NULL, 0);
}

void membership_join(struct membership *membership, bool unavailable)
{
	bool shared = session_shape(membership->session)->competing;
	if (PLANTED("two-owners"))
		shared = true;
	membership->group.unavailable = unavailable;
	group_join(&membership->group, session_backend(membership->session),
		   shard_count(membership), shared,
		   outbox_sql_fingerprint(session_shape(membership->session)),
		   clock_monotonic_us());
	refresh_owned(membership);
	ask_membership(membership);
	ask_mark(membership);
	end_previous_session(membership);
	tell_change(membership);
	session_sync(membership->session);
	ask_poll(membership, TAG_POLLED);
}

void membership_leave(struct membership *membership)
{
	session_ask_text(&membership->asker, TAG_IGNORE, "SELECT pg_advisory_unlock_all()", NULL,
			 0);
	tell_given(membership, &membership->group.owned);
	session_sync(membership->session);
}

void membership_forget(struct membership *membership)
{
	group_forget(&membership->group);
}

struct group_peers membership_peers(const struct membership *membership)
{
	return membership->peers;
}

struct source_peers membership_sink_peers(const struct membership *membership)
{
	struct group_peers peers = membership_peers(membership);
	return (struct source_peers){peers.healthy, peers.suspect};
}

/* ---- making one ---- */

static void on_lost(void *part)
{
	struct membership *membership = part;
	struct source *source = membership->source;
	group_lost(&membership->group);
	shards_clear(&source->shards, source->shards.count);
	source->obstacle[0] = '\0';
	source->paused = false;
	source->relay_count = 0;
}

struct membership *membership_new(struct session *session, struct opening *opening,
				  struct source *source, const struct membership_events *events,
				  void *owner)
{
	static const struct asker_ops ops = {on_answered, NULL, on_lost};
	struct membership *membership = xcalloc(1, sizeof(*membership));
	membership->session = session;
	membership->asker = session_join(session, &ops, membership);
	membership->opening = opening;
	membership->source = source;
	membership->events = events;
	membership->owner = owner;
	shards_clear(&source->shards, (int)session_config(session)->outbox.shards);
	return membership;
}

void membership_free(struct membership **membership)
{
	if (*membership == NULL)
		return;
	roster_fini(&(*membership)->roster);
	free(*membership);
	*membership = NULL;
}
