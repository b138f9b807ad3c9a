/* SPDX-License-Identifier: ISC */
/*
 * heartbeat.c - a session's word to the server now and then, and what it does when it was stopped
 * for longer than that waits: what outbox/heartbeat.c does
 */
#include "sim.h"

bool session_was_stopped(struct relay *relay)
{
	struct session *session = &relay->session;
	struct sim *sim = relay->sim;
	int64_t silent = sim->now_us - session->beat_us;

	bool connected = session->backend != NULL || session->answer_count > 0;
	if (!connected || silent <= sim->plan.session_timeout_us ||
	    sim->plant == PLANT_WOKEN_GOES_ON)
		return false;
	session->beat_us = sim->now_us;
	group_forget(&session->group);
	trace_of(session->relay, "was stopped");
	session_give_up(session);
	return true;
}

void session_beat(struct relay *relay)
{
	struct session *session = &relay->session;

	relay->process.heartbeat_us = relay->sim->now_us + relay->sim->plan.session_timeout_us / 3;
	if (session_was_stopped(relay))
		return;
	session->beat_us = relay->sim->now_us;
	if (session->backend != NULL)
		session_ask(session, ASK_BEAT);
}
