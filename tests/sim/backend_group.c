/* SPDX-License-Identifier: ISC */
/*
 * backend_group.c - what a server process does with what it is asked about the group of relays
 */
#include "sim.h"

/* It ends once it has done what it is at. */
static void end_previous(struct sim *sim, const struct backend *self, const struct session_id *id)
{
	for (unsigned b = 0; b < BACKENDS_MAX; b++) {
		struct backend *other = &sim->db.backends[b];
		if (!other->used || other == self || other->pid != id->pid ||
		    (other->started != id->start && sim->plant != PLANT_ENDS_BY_PID))
			continue;
		if (!other->ghost || other->relay != self->relay)
			violated(sim, "ends another relay's session", "relay %u that of relay %u",
				 self->relay, other->relay);
		other->ask_count = 0;
		other->ends_us = sim->now_us;
	}
}

void backend_leave(struct sim *sim, struct backend *backend)
{
	backend_is_outside(sim, backend);
	/* Of several one may have died that had armed it. */
	if (sim->plan.relays == 1 && sim->db.bell && backend->locks != 0)
		violated(sim, "leaves the bell armed", "at the end");
	uint32_t given = backend->locks;
	check_given(&sim->relays[backend->relay], given);
	locks_give(sim, backend, given);
	notify(sim, backend, (struct note){NOTE_FREE, backend->pid, backend->layout, given});
	backend->layout = 0;
}

bool backend_serve_group(struct sim *sim, struct backend *backend, const struct ask *first,
			 struct answer *answer)
{
	switch (first->kind) {
	case ASK_JOIN:
		backend->layout = sim->relays[backend->relay].process.shards;
		backend->joined_us = sim->now_us;
		backend->rejoined = sim->relays[backend->relay].session.has_polled;
		positions_join(sim, backend);
		/* fall through */
	case ASK_MEMBERSHIP:
		backend->unavailable = first->unavailable;
		notify(sim, backend, (struct note){.kind = NOTE_GROUP});
		return false;
	case ASK_END_PREVIOUS:
		end_previous(sim, backend, &first->previous);
		return false;
	case ASK_LOOK:
	case ASK_VERIFY:
		if (sim->plant != PLANT_GIVES_TOO_SOON)
			backend_is_outside(sim, backend);
		answer->kind = first->kind == ASK_LOOK ? ANSWER_GROUP : ANSWER_VERIFIED;
		locks_look(sim, &answer->sight);
		answer->over = first->kind == ASK_LOOK && positions_are_over(sim, backend);
		sim->idle_looks++;
		return true;
	case ASK_TRY:
		answer->kind = ANSWER_TRIED;
		answer->asked = first->shards;
		answer->shards = locks_try(sim, backend, first->shards);
		check_taken(sim, backend, answer->shards, first->alone);
		return true;
	default:
		if (!first->untouched)
			check_given(&sim->relays[backend->relay], backend->locks & first->shards);
		locks_give(sim, backend, first->shards);
		notify(sim, backend,
		       (struct note){NOTE_FREE, backend->pid, backend->layout, first->shards});
		return false;
	}
}
