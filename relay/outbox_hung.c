/*
 * outbox_hung.c - ending the sessions of relays that hang
 *
 * A relay that hangs while it waits for an event, or for the next thing to ask, loses its session
 * by the timeouts it has set. But one that stopped reading in the middle of an answer larger than
 * the sockets' buffers leaves its backend blocked in sending, where no timeout of PostgreSQL's
 * counts (manual: idle_in_transaction_session_timeout), and over a unix socket none of TCP's
 * either. So the other relays look out for it.
 */
#include "clock.h"
#include "log.h"
#include "outbox_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIGHT_PID = 1, SIGHT_SENDING = 4 };

/* Only a session of the same role, which may end it without a right of its own (manual:
 * pg_terminate_backend). */
void outbox_hung_end(struct outbox *outbox, int pid, const char *where)
{
	char sql[512];
	snprintf(sql, sizeof(sql),
		 "SELECT pg_terminate_backend(a.pid) FROM pg_stat_get_activity(%d) AS a WHERE "
		 "a.usesysid = (SELECT oid FROM pg_roles WHERE rolname = current_user) AND %s",
		 pid, where);
	pg_ask(outbox->pg, TAG_IGNORE, sql, NULL, 0, false);
}

static struct hung *find(struct hung *all, int pid)
{
	for (int i = 0; i < HUNG_MAX; i++)
		if (all[i].pid == pid)
			return &all[i];
	return NULL;
}

/* Since when it has been sending the same answer, in every look. */
static void note(struct outbox *outbox, const struct hung *before, int pid, const char *query_start)
{
	struct hung *hung = find(outbox->hung, 0);
	if (hung == NULL)
		return;
	bool same = before != NULL && strcmp(before->query_start, query_start) == 0;
	hung->since_us = same ? before->since_us : clock_monotonic_us();
	hung->pid = pid;
	snprintf(hung->query_start, sizeof(hung->query_start), "%s", query_start);
}

static void end_if_overdue(struct outbox *outbox, struct hung *hung)
{
	int64_t silent = clock_monotonic_us() - hung->since_us;
	if (hung->pid == 0 || silent < outbox->config->outbox.session_timeout_ms * 1000)
		return;
	log_warning(
	    "the relay of session %d has not read an answer for %.0f s: its session is ended",
	    hung->pid, (double)silent / 1e6);
	outbox_hung_end(outbox, hung->pid, "a.wait_event = 'ClientWrite'");
	pg_sync(outbox->pg);
	hung->pid = 0;
}

void outbox_hung_look(struct outbox *outbox, const PGresult *sight)
{
	struct hung before[HUNG_MAX];
	memcpy(before, outbox->hung, sizeof(before));
	memset(outbox->hung, 0, sizeof(outbox->hung));
	for (int i = 0; i < PQntuples(sight); i++) {
		int pid = atoi(PQgetvalue(sight, i, SIGHT_PID));
		if (!PQgetisnull(sight, i, SIGHT_SENDING) && pid != pg_backend(outbox->pg))
			note(outbox, find(before, pid), pid, PQgetvalue(sight, i, SIGHT_SENDING));
	}
	for (int i = 0; i < HUNG_MAX; i++)
		end_if_overdue(outbox, &outbox->hung[i]);
}
