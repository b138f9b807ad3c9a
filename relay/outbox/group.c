/*
 * group.c - which shards are ours: joining the other relays, taking and handing over
 *
 * The locks of outbox/locks.h say who is there and who owns what; spread.c says what to do about
 * it. Everything happens in the session that claims, between two transactions, so a shard that is
 * handed over has nothing under way.
 */
#include "outbox/locks.h"

#include "base/clock.h"
#include "base/failpoints.h"
#include "base/log.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "core/spread.h"
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Somewhat less than the engine waits between two looks. But if our own session was lost, the
 * owners of what is free may have lost theirs too, and be back at any moment. */
enum { RIPE_US = 200 * 1000, RIPE_AFTER_LOSS_US = 3000 * 1000, JOINED_US = 1000 * 1000 };

/* What was free before a relay did not look for so long may have had an owner since. While it waits
 * for Kafka it looks every second. */
enum { BLIND_US = 1500 * 1000 };

/* So many keys in a row that are occupied are no accident. */
enum { JOINS = 4, OBSTACLE_LOG_US = 60 * 1000 * 1000 };

/* ---- telling ---- */

/* What claims need to know of the shards, once they have changed. */
static void refresh_owned(struct outbox *outbox)
{
	const struct shards *shards = &outbox->source.shards;
	free(outbox->owned_text);
	outbox->owned_text = shards_text(shards);
	outbox->own_count = 0;
	for (int k = 0; k < shards->count; k++)
		if (shards->owned[k] && (outbox->shape.partitioned || outbox->own_count == 0))
			outbox->own[outbox->own_count++] =
			    outbox->shape.partitioned ? (size_t)k : 0;
}

/* "OID group": another relay has come. "OID free 8 {0,3}": these of 8 shards were handed over. */
static void tell_others(struct outbox *outbox, const struct shards *given)
{
	char *which = shards_text(given ? given : &outbox->source.shards);
	char *payload =
	    given ? xasprintf("%u free %d %s", outbox->shape.oid, outbox_layout(outbox), which)
		  : xasprintf("%u fleet", outbox->shape.oid);
	struct pg_param param = pg_param_text(payload);
	pg_ask(outbox->pg, TAG_IGNORE, "SELECT pg_notify('outbox_relay', $1)", &param, 1, false);
	free(which);
	free(payload);
}

void outbox_group_freed(struct outbox *outbox, const char *which)
{
	if (strtol(which, (char **)&which, 10) != outbox_layout(outbox))
		return;
	while (*which != '\0') {
		char *end;
		long shard = strtol(which, &end, 10);
		if (end != which && shard >= 0 && shard < SHARDS_MAX)
			outbox->handed_over.owned[shard] = true;
		which = *end != '\0' ? end + 1 : end;
	}
}

/* Of relays of another layout. */
static void tell_others_words(const struct outbox *outbox, int shards, char *why, size_t size)
{
	if (shards == 0)
		snprintf(why, size, "relays without order are at work; waiting for their end");
	else if (shards != outbox_layout(outbox))
		snprintf(why, size, "relays with %d shard%s are at work; waiting for their end",
			 shards, shards == 1 ? "" : "s");
	else
		snprintf(why, size, "relays with %s are at work; waiting for their end",
			 outbox->shape.partitioned ? "other partitions of the outbox"
						   : "another route.key or other columns in it");
}

/* Of shards that others own, or are about to. */
static void tell_owners_words(const struct spread_view *view, char *why, size_t size)
{
	if (spread_free(view) > 0)
		snprintf(
		    why, size,
		    "%d of %d shards have no owner; they are taken unless it is back in a moment",
		    spread_free(view), view->shards);
	else if (view->shards == 1)
		snprintf(why, size, "another relay owns the shard");
	else
		snprintf(why, size, "other relays own all %d shards", view->shards);
}

static void tell_busy(struct outbox *outbox, const struct sight *sight)
{
	struct source *source = &outbox->source;
	char why[sizeof(source->obstacle)];
	source->yields = false;
	if (sight->previous) {
		snprintf(why, sizeof(why), "this relay's previous session still has its shards");
	} else if (source->obstacle[0] != '\0') {
		text_print(why, sizeof(why), "%s", source->obstacle);
	} else if (sight->other_layout >= 0) {
		tell_others_words(outbox, sight->other_layout, why, sizeof(why));
	} else if (sight->view.paused) {
		snprintf(why, sizeof(why), "the outbox is paused; outbox-relay resume goes on");
	} else if (outbox->unavailable) {
		source->yields = true;
		snprintf(why, sizeof(why),
			 "no Kafka broker answers here; other relays have the shards");
	} else {
		tell_owners_words(&sight->view, why, sizeof(why));
	}
	source->events->busy(source->owner, why);
}

/* Another session has a lock that only relays should take. Nothing but its end helps. */
static void find_obstacle(struct outbox *outbox, const struct sight *sight)
{
	char *text = outbox->source.obstacle;
	size_t size = sizeof(outbox->source.obstacle);
	text[0] = '\0';
	if (sight->stranger[0] == '\0')
		return;
	if (sight->occupied > 0)
		snprintf(text, size,
			 "%s is no relay and holds the lock of %d of %d shards, whose events wait; "
			 "end it",
			 sight->stranger, sight->occupied, sight->view.shards);
	else if (outbox->joins_failed >= JOINS)
		snprintf(text, size, "%s is no relay and has a lock of the relays; end it",
			 sight->stranger);
	if (text[0] != '\0' &&
	    log_limit_due(&outbox->obstacle_log, clock_monotonic_us(), OBSTACLE_LOG_US))
		log_warning("%s%s", text, outbox->obstacle_log.note);
}

void outbox_group_acquired(struct outbox *outbox, bool gained)
{
	outbox->source.events->acquired(outbox->source.owner, gained);
}

/* Other members are there. */
static bool has_healthy_peer(const struct outbox *outbox, const struct spread_view *view)
{
	return view->member_count > (outbox->unavailable ? 0 : 1);
}

static void tell(struct outbox *outbox, const struct sight *sight, bool gained)
{
	struct source *source = &outbox->source;
	int owned = shards_owned(&source->shards);
	find_obstacle(outbox, sight);
	source->healthy_peer = has_healthy_peer(outbox, &sight->view);
	source->suspect_peer = sight->unavailable_peers && !outbox->unavailable;
	source->has_peers =
	    source->healthy_peer || sight->unavailable_peers || owned < source->shards.count;
	if (owned == 0)
		tell_busy(outbox, sight);
	else if (gained)
		outbox_open_probe(outbox);
	else
		outbox_group_acquired(outbox, false);
}

/* ---- looking ---- */

/* A shard that nobody handed over is left to its owner for a moment, who may be reconnecting and
 * remembers what was published. */
static bool is_ripe(const struct outbox *outbox, int64_t since_us, int64_t now_us)
{
	bool all_lost = outbox->rejoined && since_us < outbox->joined_us + JOINED_US;
	return now_us - since_us >= (all_lost ? RIPE_AFTER_LOSS_US : RIPE_US);
}

static void ripen(struct outbox *outbox, const struct sight *sight, struct shards *ripe)
{
	const struct spread_view *view = &sight->view;
	int64_t now = clock_monotonic_us();
	bool alone =
	    outbox->first_look && !sight->unavailable_peers && !has_healthy_peer(outbox, view);
	bool blind = now - outbox->looked_us > BLIND_US;
	outbox->looked_us = now;
	shards_clear(ripe, view->shards);
	for (int k = 0; k < view->shards; k++) {
		int64_t *since = &outbox->free_since_us[k];
		/* To a relay of another layout all of it belongs. */
		if (view->owner[k] != 0 || sight->other_layout >= 0) {
			*since = 0;
			continue;
		}
		if (*since == 0 || blind)
			*since = now;
		ripe->owned[k] = alone || outbox->handed_over.owned[k] || outbox->before.owned[k] ||
				 is_ripe(outbox, *since, now);
	}
	shards_clear(&outbox->handed_over, view->shards);
	outbox->first_look = false;
}

/* What was ours before the session was lost is had again whatever the fair share: only this relay
 * remembers what of it was published. It is handed over when that is settled. */
static void reclaim(struct outbox *outbox, const struct spread_view *view, struct shards *take)
{
	for (int k = 0; k < view->shards; k++) {
		bool others = view->owner[k] != 0 && view->owner[k] != view->self &&
			      view->owner[k] != outbox->previous.pid;
		if (others)
			outbox->before.owned[k] = false;
		else if (view->owner[k] == 0 && outbox->before.owned[k] && !view->paused)
			take->owned[k] = true;
	}
}

static void ask_look(struct outbox *outbox, enum tag tag)
{
	pg_ask_prepared(outbox->pg, (int)tag, "fleet", NULL, 0, false);
	pg_sync(outbox->pg);
}

/* One that holds a key of ours cannot be waited for: it may be any session. */
static void ask_membership(struct outbox *outbox)
{
	char sql[128];
	snprintf(sql, sizeof(sql), "SELECT pg_try_advisory_lock_shared(%d, %d)",
		 (int)outbox->shape.oid,
		 (int)outbox_member_lock(outbox_layout(outbox), outbox->unavailable,
					 outbox->member_salt));
	pg_ask(outbox->pg, TAG_IGNORE, sql, NULL, 0, false);
}

static void end_membership(struct outbox *outbox)
{
	char sql[128];
	snprintf(sql, sizeof(sql), "SELECT pg_advisory_unlock_shared(%d, %d)",
		 (int)outbox->shape.oid,
		 (int)outbox_member_lock(outbox_layout(outbox), outbox->unavailable,
					 outbox->member_salt));
	pg_ask(outbox->pg, TAG_IGNORE, sql, NULL, 0, false);
}

static void ask_mark(struct outbox *outbox)
{
	char sql[128];
	snprintf(sql, sizeof(sql), "SELECT pg_try_advisory_lock_shared(%d, %d)",
		 (int)outbox->fingerprint, (int)outbox_layout_lock(outbox->layout_salt));
	pg_ask(outbox->pg, TAG_IGNORE, sql, NULL, 0, false);
}

/* Under keys that are not occupied, it is hoped: the next look tells. */
static void join_again(struct outbox *outbox, const struct sight *sight)
{
	unsigned salt = (unsigned)clock_monotonic_us() % OUTBOX_SALTS;
	if (!sight->joined) {
		outbox->member_salt = salt;
		ask_membership(outbox);
	}
	if (!sight->marked) {
		outbox->layout_salt = salt;
		ask_mark(outbox);
	}
	if (sight->joined && sight->marked) {
		outbox->joins_failed = 0;
		return;
	}
	outbox->joins_failed++;
	pg_sync(outbox->pg);
}

void outbox_group_look(struct outbox *outbox, bool unavailable, bool keeps)
{
	outbox->keeps = keeps;
	if (unavailable != outbox->unavailable) {
		end_membership(outbox);
		outbox->unavailable = unavailable;
		ask_membership(outbox);
		tell_others(outbox, NULL);
	}
	ask_look(outbox, TAG_GROUP);
}

/* ---- taking and giving ---- */

static void ask_lock(struct outbox *outbox, const char *function, int shard)
{
	char sql[160];
	snprintf(sql, sizeof(sql), "SELECT %s(%d, %d)", function, (int)outbox->shape.oid,
		 (int)outbox_shard_lock(outbox_layout(outbox), shard));
	pg_ask(outbox->pg, TAG_IGNORE, sql, NULL, 0, false);
}

static void give(struct outbox *outbox, const struct shards *shards)
{
	FAILPOINT("before-handover");
	const char *unlock =
	    outbox->shape.competing ? "pg_advisory_unlock_shared" : "pg_advisory_unlock";
	for (int k = 0; k < shards->count; k++)
		if (shards->owned[k]) {
			ask_lock(outbox, unlock, k);
			outbox->source.shards.owned[k] = outbox->before.owned[k] = false;
		}
	refresh_owned(outbox);
	tell_others(outbox, shards);
	pg_sync(outbox->pg);
	FAILPOINT("handed-over");
}

static void try_for(struct outbox *outbox, const struct shards *shards)
{
	char *wanted = shards_text(shards), sql[192];
	struct pg_param param = pg_param_text(wanted);
	snprintf(sql, sizeof(sql),
		 "SELECT k, pg_try_advisory_lock%s(%d, %d | k) FROM unnest($1::int4[]) AS k",
		 outbox->shape.competing ? "_shared" : "", (int)outbox->shape.oid,
		 (int)outbox_shard_lock(outbox_layout(outbox), 0));
	pg_ask(outbox->pg, TAG_TRIED, sql, &param, 1, false);
	free(wanted);
	/* Relays of another layout that began at the same moment see our locks or we see theirs. */
	ask_look(outbox, TAG_VERIFIED);
}

static void on_look(struct outbox *outbox, PGresult *result)
{
	struct sight sight;
	struct shards ripe;
	struct spread_plan plan;
	bool there = outbox_sight_read(outbox, result, &sight);
	PQclear(result);
	if (!there) {
		outbox_give_up(outbox, false,
			       "another table has taken the outbox's name, its partitions have "
			       "changed, or it has left schema outbox_relay");
		return;
	}
	if (!sight.previous)
		outbox->previous.pid = 0;
	memcpy(outbox->peers, sight.peers, sizeof(outbox->peers));
	outbox->peer_count = sight.peer_count;
	join_again(outbox, &sight);
	if (outbox->keeps) {
		tell(outbox, &sight, false);
		return;
	}
	ripen(outbox, &sight, &ripe);
	spread_plan(&sight.view, &ripe, &plan);
	reclaim(outbox, &sight.view, &plan.take);
	bool works = shards_owned(&outbox->source.shards) > 0;
	bool may_begin = sight.other_layout < 0 && !sight.previous && sight.joined && sight.marked;
	if (shards_owned(&plan.give) > 0)
		give(outbox, &plan.give);
	if (shards_owned(&plan.take) > 0 && (works || may_begin))
		try_for(outbox, &plan.take);
	else
		tell(outbox, &sight, false);
}

static void on_tried(struct outbox *outbox, PGresult *result)
{
	shards_clear(&outbox->taken, outbox->source.shards.count);
	for (int i = 0; i < PQntuples(result); i++)
		if (PQgetvalue(result, i, 1)[0] == 't' || PLANTED("two-owners"))
			outbox->taken.owned[atoi(PQgetvalue(result, i, 0))] = true;
		else /* it has had an owner since the look */
			outbox->free_since_us[atoi(PQgetvalue(result, i, 0))] = 0;
	PQclear(result);
}

static void on_verified(struct outbox *outbox, PGresult *result)
{
	struct sight sight;
	struct shards *shards = &outbox->source.shards;
	bool works = shards_owned(shards) > 0, gained = shards_owned(&outbox->taken) > 0;
	outbox_sight_read(outbox, result, &sight);
	PQclear(result);
	/* Whoever paused the outbox may have looked before we had them. */
	if (gained && (sight.view.paused || (!works && sight.other_layout >= 0))) {
		give(outbox, &outbox->taken);
		tell(outbox, &sight, false);
		return;
	}
	for (int k = 0; k < shards->count; k++)
		if (outbox->taken.owned[k]) {
			shards->owned[k] = outbox->before.owned[k] = true;
			outbox_open_leaf(outbox, outbox->shape.partitioned ? (size_t)k : 0);
		}
	pg_sync(outbox->pg);
	refresh_owned(outbox);
	tell(outbox, &sight, gained);
}

static void on_opened(struct outbox *outbox, PGresult *result)
{
	PQclear(result);
	outbox_group_acquired(outbox, true);
}

void outbox_group_answered(struct outbox *outbox, enum tag tag, PGresult *result)
{
	if (tag == TAG_OPENED)
		on_opened(outbox, result);
	else if (tag == TAG_GROUP)
		on_look(outbox, result);
	else if (tag == TAG_TRIED)
		on_tried(outbox, result);
	else
		on_verified(outbox, result);
}

/* ---- coming and going ---- */

static int shard_count(const struct outbox *outbox)
{
	if (outbox->shape.partitioned)
		return (int)outbox->shape.leaf_count;
	return outbox->shape.competing ? 1 : (int)outbox->config->outbox.shards;
}

/* The server may not have noticed that a connection of ours is gone. What its session published is
 * settled in its shards, so no others are taken before it has ended. A session of the same role may
 * be ended without a right of its own (manual: pg_terminate_backend). */
static void end_previous_session(struct outbox *outbox)
{
	const struct session_id *previous = &outbox->previous;
	char sql[400];
	if (previous->pid == 0)
		return;
	snprintf(sql, sizeof(sql),
		 "SELECT pg_terminate_backend(a.pid) FROM pg_stat_get_activity(%d) AS a WHERE "
		 "a.usesysid = (SELECT oid FROM pg_roles WHERE rolname = current_user) "
		 "AND a.pid <> pg_backend_pid() AND " OUTBOX_SQL_STARTED " = %lld",
		 previous->pid, (long long)previous->started_us);
	pg_ask(outbox->pg, TAG_IGNORE, sql, NULL, 0, false);
}

void outbox_group_join(struct outbox *outbox)
{
	int count = shard_count(outbox);
	outbox->keeps = false;
	if (outbox->before.count != count)
		shards_clear(&outbox->before, count);
	shards_clear(&outbox->source.shards, count);
	outbox->joined_us = clock_monotonic_us();
	outbox->rejoined = outbox->previous.pid != 0;
	outbox->session.pid = 0;
	shards_clear(&outbox->handed_over, count);
	memset(outbox->free_since_us, 0, sizeof(outbox->free_since_us));
	refresh_owned(outbox);
	outbox->fingerprint = outbox_sql_fingerprint(&outbox->shape);
	ask_membership(outbox);
	ask_mark(outbox);
	end_previous_session(outbox);
	tell_others(outbox, NULL);
	pg_sync(outbox->pg);
	ask_look(outbox, TAG_GROUP);
}

void outbox_group_leave(struct outbox *outbox)
{
	pg_ask(outbox->pg, TAG_IGNORE, "SELECT pg_advisory_unlock_all()", NULL, 0, false);
	tell_others(outbox, &outbox->source.shards);
	pg_sync(outbox->pg);
}

void outbox_group_lost(struct outbox *outbox)
{
	if (outbox->serving && outbox->session.pid != 0)
		outbox->previous = outbox->session;
	outbox->source.obstacle[0] = '\0';
	outbox->peer_count = 0;
	shards_clear(&outbox->source.shards, outbox->source.shards.count);
}
