/* SPDX-License-Identifier: ISC */
/*
 * group.c - a session's part in the group: what outbox/membership.c does, with the real
 * outbox/group.c, on modelled locks
 */
#include "sim.h"

#include "outbox/locks.h"

#include <string.h>

enum { FINGERPRINT = 1 }; /* all relays' */

static struct sim *sim_of(const struct session *session)
{
	return session->relay->sim;
}

static uint32_t bits_of(const struct shards *shards)
{
	uint32_t bits = 0;

	for (int k = 0; k < shards->count; k++)
		bits |= shards->owned[k] ? 1u << k : 0;
	return bits;
}

uint32_t session_owned(const struct session *session)
{
	return bits_of(&session->source.shards);
}

uint64_t session_mine(const struct session *session, uint64_t rows)
{
	const struct sim *sim = sim_of(session);
	const struct shards *shards = &session->source.shards;

	for (unsigned i = 0; i < sim->db.row_count; i++)
		if (!shards->owned[shard_of(sim->db.rows[i].key, shards->count)])
			rows &= ~ROW_BIT(i);
	return rows;
}

/* ---- telling ---- */

static struct source_peers source_peers(const struct session *session)
{
	return (struct source_peers){session->others.healthy, session->others.suspect};
}

static void tell_busy(struct session *session)
{
	if (!producers_stand_by(session))
		return;
	session_polled(session, POLL_BUSY);
	session->source.events->busy(session->source.owner, "no shard is ours",
				     session->group.unavailable, source_peers(session));
}

static void tell_acquired(struct session *session, bool gained)
{
	struct relay *relay = session->relay;

	if (gained)
		relay->process.looking_us = relay->sim->now_us;
	session_poll(session, (struct poll_input){.event = POLL_LOOKED,
						  .has_bell = relay->sim->plan.has_bell,
						  .has_peers = session->others.any,
						  .gained = gained});
	session->source.events->acquired(session->source.owner, gained, source_peers(session));
}

static void tell(struct session *session, const struct group_view *view, bool gained)
{
	struct group_peers peers = group_peers(&session->group, view);
	enum plant plant = sim_of(session)->plant;

	if (plant == PLANT_NEVER_RELIEVED)
		peers.healthy = false;
	if (plant == PLANT_RELIES_ON_ALL && view->unavailable_peers)
		peers.healthy = true;
	session->others = peers;
	if (shards_owned(&session->source.shards) == 0)
		tell_busy(session);
	else if (gained)
		producers_own(session);
	else
		tell_acquired(session, false);
}

void group_owned(struct session *session)
{
	tell_acquired(session, true);
}

/* ---- what the locks say ---- */

static void add_lock(const struct session *session, struct group_view *view,
		     const struct holder *holder, int32_t key)
{
	struct group_lock lock = {.key = (uint32_t)key,
				  .session = {holder->pid, holder->started},
				  .fingerprint = FINGERPRINT,
				  .held = true};

	lock.exclusive = lock.key >= OUTBOX_SHARD_LOCK && !sim_of(session)->plan.competing;
	group_view_add(&session->group, view, &lock);
}

static void view_of(const struct session *session, const struct sight *sight,
		    struct group_view *view)
{
	group_view_begin(&session->group, view, sight->paused);
	for (unsigned i = 0; i < sight->count; i++) {
		const struct holder *holder = &sight->holders[i];
		int layout = sim_of(session)->plan.competing ? 0 : holder->layout;
		add_lock(session, view, holder, outbox_member_lock(layout, holder->unavailable, 0));
		for (int k = 0; k < holder->layout; k++)
			if (holder->locks & 1u << k)
				add_lock(session, view, holder, outbox_shard_lock(layout, k));
	}
	if (sim_of(session)->plant == PLANT_LAYOUT_IGNORED)
		view->other_layout = -1;
}

/* ---- taking and giving ---- */

static void ask_give(struct session *session, const struct shards *shards)
{
	struct ask *added = session_ask(session, ASK_GIVE);

	if (added == NULL)
		return;
	added->shards = bits_of(shards);
	added->untouched = (added->shards & session_owned(session)) == 0;
}

bool group_give(struct session *session, const struct shards *shards)
{
	if (!producers_give(session, shards))
		return false;
	ask_give(session, shards);
	group_gave(&session->group, shards);
	session->source.shards = session->group.owned;
	return true;
}

static void try_for(struct session *session, const struct shards *shards)
{
	struct ask *added = session_ask(session, ASK_TRY);

	if (added != NULL) {
		added->shards = bits_of(shards);
		added->alone = session->alone;
	}
	session_ask(session, ASK_VERIFY);
}

/* Planted errors of the group's: what it should know before it plans. */
static void spoil_group(struct session *session)
{
	struct group *group = &session->group;
	enum plant plant = sim_of(session)->plant;

	for (int k = 0; k < group->owned.count && plant == PLANT_NO_GRACE; k++)
		group->shards[k].handed_over = true;
	if (plant == PLANT_LOSS_FORGOTTEN)
		group->rejoined = false;
}

static void on_polled(struct session *session, const struct sight *sight)
{
	enum plant plant = sim_of(session)->plant;
	struct group *group = &session->group;
	struct group_view view;
	struct group_plan plan;
	uint32_t remembered = 0;

	session->has_polled = true;
	session->alone = sight->count == 1 && !group->polled;
	spoil_group(session);
	for (int k = 0; k < group->owned.count; k++)
		remembered |= group->shards[k].remembered ? 1u << k : 0;
	view_of(session, sight, &view);
	group_polled(group, &view, sim_of(session)->now_us, &plan);
	for (int k = 0; k < group->owned.count && plant == PLANT_BEFORE_KEPT; k++)
		group->shards[k].remembered = (remembered & 1u << k) != 0;
	if (shards_owned(&plan.give) > 0 && plant != PLANT_GREEDY &&
	    !group_give(session, &plan.give))
		return;
	if (shards_owned(&plan.take) > 0)
		try_for(session, &plan.take);
	else
		tell(session, &view, false);
}

static void on_tried(struct session *session, uint32_t asked, uint32_t got)
{
	for (int k = 0; k < session->group.owned.count; k++)
		if (asked & 1u << k)
			group_tried(&session->group, k,
				    (got & 1u << k) ||
					sim_of(session)->plant == PLANT_REFUSAL_IGNORED);
}

static void on_verified(struct session *session, const struct sight *sight)
{
	struct group_view view;
	struct shards give;

	view_of(session, sight, &view);
	bool gained = group_verified(&session->group, &view, &give);
	if (shards_owned(&give) > 0 && !group_give(session, &give))
		return;
	session->source.shards = session->group.owned;
	letters_look(session);
	tell(session, &view, gained);
}

void group_answered(struct session *session, const struct answer *answer)
{
	switch (answer->kind) {
	case ANSWER_GROUP:
		on_polled(session, &answer->sight);
		break;
	case ANSWER_TRIED:
		on_tried(session, answer->asked, answer->shards);
		break;
	case ANSWER_VERIFIED:
		on_verified(session, &answer->sight);
		break;
	default:
		break;
	}
}

void group_heard(struct session *session, const struct note *note)
{
	struct shards shards;

	shards_clear(&shards, SHARDS_SIM);
	for (int k = 0; k < SHARDS_SIM; k++)
		shards.owned[k] = (note->shards & 1u << k) != 0;
	group_freed(&session->group, note->sender, note->layout, &shards);
}

/* ---- coming and going ---- */

static void ask_membership(struct session *session, enum ask_kind kind)
{
	struct ask *added = session_ask(session, kind);

	if (added != NULL)
		added->unavailable = session->group.unavailable;
}

void group_look(struct session *session, bool unavailable, bool keeps)
{
	session->group.keeps = keeps;
	if (sim_of(session)->plant == PLANT_NEVER_UNAVAILABLE)
		unavailable = false;
	if (unavailable != session->group.unavailable) {
		session->group.unavailable = unavailable;
		ask_membership(session, ASK_MEMBERSHIP);
	}
	session_ask(session, ASK_LOOK);
}

static void end_previous(struct session *session)
{
	struct ask *added;

	if (session->group.previous.pid == 0)
		return;
	added = session_ask(session, ASK_END_PREVIOUS);
	if (added != NULL)
		added->previous = session->group.previous;
}

void group_begin(struct session *session, bool unavailable)
{
	struct group *group = &session->group;

	group->unavailable = unavailable;
	group_join(group, session->backend->pid, session->source.shards.count,
		   sim_of(session)->plan.competing, FINGERPRINT, sim_of(session)->now_us);
	session->source.shards = group->owned;
	ask_membership(session, ASK_JOIN);
	end_previous(session);
	session_ask(session, ASK_LOOK);
}
