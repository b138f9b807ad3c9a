/*
 * group.c - which shards are a session's: what outbox/group.c does, with the real spread.c, on
 * modelled locks
 */
#include "sim.h"

#include <string.h>

enum { RIPE_US = 200 * MS, BLIND_US = 1500 * MS }; /* as in outbox/group.c */

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
	const struct sim *sim = session->relay->sim;
	const struct shards *shards = &session->source.shards;

	for (unsigned i = 0; i < sim->db.row_count; i++)
		if (!shards->owned[shard_of(sim->db.rows[i].key, shards->count)])
			rows &= ~ROW_BIT(i);
	return rows;
}

/* ---- telling ---- */

static void tell_acquired(struct session *session, bool gained)
{
	struct relay *relay = session->relay;

	session->source.has_bell = relay->sim->plan.has_bell;
	if (gained)
		relay->process.looking_us = relay->sim->now_us;
	session->source.events->acquired(session->source.owner, gained);
}

static void pay_debt(struct session *session)
{
	struct ask *added = session_ask(session, ASK_RECONCILE);

	if (added != NULL)
		added->delivered = session->debt;
	session_ask(session, ASK_DEBT_COMMIT);
}

static bool has_healthy_peer(const struct sim *sim, const struct sight *sight, bool unavailable)
{
	if (sim->plant == PLANT_RELIES_ON_ALL && sight->unavailable_peers)
		return true;
	return sight->member_count > (unavailable ? 0 : 1) && sim->plant != PLANT_NEVER_RELIEVED;
}

static void tell(struct session *session, const struct sight *sight, bool gained)
{
	struct shards *shards = &session->source.shards;
	int owned = shards_owned(shards);

	session->source.healthy_peer =
	    has_healthy_peer(session->relay->sim, sight, session->unavailable);
	session->source.suspect_peer = sight->unavailable_peers && !session->unavailable;
	session->source.has_peers =
	    session->source.healthy_peer || sight->unavailable_peers || owned < shards->count;
	if (owned == 0)
		session->source.events->busy(session->source.owner, "no shard is ours");
	else if (gained && session->debt != 0)
		pay_debt(session);
	else
		tell_acquired(session, gained);
}

/* ---- looking ---- */

static void view_of(const struct session *session, const struct sight *sight,
		    struct spread_view *view)
{
	memset(view, 0, sizeof(*view));
	view->self = session->backend != NULL ? session->backend->pid : 0;
	view->shards = session->source.shards.count;
	view->paused = sight->paused;
	view->unavailable = session->unavailable;
	view->shared = session->relay->sim->plan.competing;
	for (unsigned i = 0; i < sight->member_count; i++)
		spread_add_member(view, sight->members[i]);
	for (int k = 0; k < view->shards; k++)
		view->owner[k] = sight->owner[k];
}

/* A shard that nobody handed over is left to its owner for a moment. */
static void ripen(struct session *session, const struct spread_view *view, struct shards *ripe)
{
	int64_t now = session->relay->sim->now_us;
	bool at_once, blind = now - session->looked_us > BLIND_US;

	session->looked_us = now;
	session->at_once = session->handed_over || session->first_look;
	at_once = session->at_once || session->relay->sim->plant == PLANT_NO_GRACE;
	shards_clear(ripe, view->shards);
	for (int k = 0; k < view->shards; k++) {
		int64_t *since = &session->free_since_us[k];
		if (view->owner[k] != 0) {
			*since = 0;
			if (view->owner[k] != view->self &&
			    session->relay->sim->plant != PLANT_BEFORE_KEPT)
				session->before &= ~(1u << k);
			continue;
		}
		if (*since == 0 || blind)
			*since = now;
		ripe->owned[k] = at_once || (session->before & 1u << k) || now - *since >= RIPE_US;
	}
	session->handed_over = session->first_look = false;
}

/* ---- taking and giving ---- */

static void set_owned(struct session *session, uint32_t shards, bool owned)
{
	for (int k = 0; k < session->source.shards.count; k++)
		if (shards & 1u << k)
			session->source.shards.owned[k] = owned;
	session->before = owned ? session->before | shards : session->before & ~shards;
}

static void ask_give(struct session *session, uint32_t shards)
{
	struct ask *added = session_ask(session, ASK_GIVE);

	if (added == NULL)
		return;
	added->shards = shards;
	added->untouched = (shards & session_owned(session)) == 0;
}

void group_give(struct session *session, uint32_t shards)
{
	if (session->relay->sim->plant != PLANT_GIVES_IN_DEBT)
		session_make_durable(session);
	ask_give(session, shards);
	set_owned(session, shards, false);
}

static void try_for(struct session *session, uint32_t shards)
{
	struct ask *added = session_ask(session, ASK_TRY);

	if (added != NULL) {
		added->shards = shards;
		added->at_once = session->at_once;
	}
	session_ask(session, ASK_VERIFY);
}

static void on_look(struct session *session, const struct sight *sight)
{
	enum plant plant = session->relay->sim->plant;
	struct spread_view view;
	struct spread_plan plan;
	struct shards ripe;

	if (session->keeps) {
		tell(session, sight, false);
		return;
	}
	view_of(session, sight, &view);
	ripen(session, &view, &ripe);
	spread_plan(&view, &ripe, &plan);
	if (plant == PLANT_GREEDY)
		shards_clear(&plan.give, view.shards);
	bool works = session_owned(session) != 0;
	if (shards_owned(&plan.give) > 0)
		group_give(session, bits_of(&plan.give));
	if (shards_owned(&plan.take) > 0 &&
	    (works || sight->other_layout == 0 || plant == PLANT_LAYOUT_IGNORED))
		try_for(session, bits_of(&plan.take));
	else
		tell(session, sight, false);
}

static void on_verified(struct session *session, const struct sight *sight)
{
	bool works = session_owned(session) != 0;

	if (!works && sight->other_layout != 0 &&
	    session->relay->sim->plant != PLANT_LAYOUT_IGNORED) {
		group_give(session, session->taken);
		tell(session, sight, false);
		return;
	}
	set_owned(session, session->taken, true);
	tell(session, sight, session->taken != 0);
}

void group_answered(struct session *session, const struct answer *answer)
{
	switch (answer->kind) {
	case ANSWER_GROUP:
		on_look(session, &answer->sight);
		break;
	case ANSWER_TRIED:
		session->taken = answer->shards;
		break;
	case ANSWER_VERIFIED:
		on_verified(session, &answer->sight);
		break;
	default:
		refused_hold(session, answer->stuck, answer->published);
		tell_acquired(session, true);
		break;
	}
}

static void ask_membership(struct session *session, enum ask_kind kind, bool unavailable)
{
	struct ask *added = session_ask(session, kind);

	session->unavailable = unavailable;
	if (added != NULL)
		added->unavailable = unavailable;
}

void group_look(struct session *session, bool unavailable, bool keeps)
{
	session->keeps = keeps;
	if (session->relay->sim->plant == PLANT_NEVER_UNAVAILABLE)
		unavailable = false;
	if (unavailable != session->unavailable)
		ask_membership(session, ASK_MEMBERSHIP, unavailable);
	session_ask(session, ASK_LOOK);
}

void group_join(struct session *session, bool unavailable)
{
	shards_clear(&session->source.shards, session->source.shards.count);
	memset(session->free_since_us, 0, sizeof(session->free_since_us));
	session->keeps = false;
	ask_membership(session, ASK_JOIN, unavailable);
	session_ask(session, ASK_LOOK);
}
