/* SPDX-License-Identifier: ISC */
/*
 * poll.c - when the outbox is polled, and from where: a pure state machine, event in, actions out
 *
 * Each event has one handler: in poll_claim.c, or in poll_group.c.
 */
#include "poll_words.h"

void poll_init(struct poll *poll)
{
	memset(poll, 0, sizeof(*poll));
	claims_init(&poll->claims);
}

typedef void handler_fn(struct step *s);

static handler_fn *const handlers[] = {
    [POLL_OPEN] = poll_on_open,
    [POLL_AVAILABLE] = poll_on_available,
    [POLL_FETCH] = poll_on_fetch,
    [POLL_HOLD] = poll_on_hold,
    [POLL_SETTLE] = poll_on_settle,
    [POLL_ROLL_BACK] = poll_on_roll_back,
    [POLL_RECONCILE] = poll_on_reconcile,
    [POLL_RESOLVE] = poll_on_resolve,
    [POLL_CLOSE] = poll_on_close,
    [POLL_LOOKED] = poll_on_looked,
    [POLL_BUSY] = poll_on_busy,
    [POLL_LOST] = poll_on_lost,
    [POLL_OBSERVED] = poll_on_observed,
    [POLL_CLAIMED] = poll_on_claimed,
    [POLL_SETTLED] = poll_on_settled,
    [POLL_ROLLED_BACK] = poll_on_rolled_back,
    [POLL_RECONCILED] = poll_on_reconciled,
    [POLL_FAILED] = poll_on_failed,
    [POLL_RELEASED] = poll_on_released,
    [POLL_RUNG] = poll_on_rung,
    [POLL_RESTED] = poll_on_rested,
    [POLL_MEMBERSHIP] = poll_on_membership,
    [POLL_UNFINISHED] = poll_on_unfinished,
    [POLL_TIMER] = poll_on_timer,
};

void poll_step(struct poll *poll, const struct poll_options *options,
	       const struct poll_input *input, struct poll_actions *actions)
{
	struct step s = {poll, options, input, actions};
	actions->count = 0;
	poll->idle.poll_us = options->poll_us;
	/* It begins: the gauges show what waits. Or it is over, by a reload too: what is held is
	 * looked at, and may go. */
	if (poll->halted != input->halted)
		poll->housekeep_at_us = 0;
	poll->halted = input->halted;
	assert(handlers[input->event] != NULL);
	handlers[input->event](&s);
}
