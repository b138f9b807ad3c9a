/*
 * blocker.h - who holds the lock that a session waits for
 */
#ifndef OUTBOX_PGBLOCKER_H
#define OUTBOX_PGBLOCKER_H

#include <libpq-fe.h>
#include <stddef.h>

/* Asks in a second session, as the first one is busy: "process 4711 (application_name psql) holds a
 * lock on public.outbox_events, in a transaction since 2026-11-28 10:00:00+00"; "" if it waits for
 * no lock, or nobody answers within two seconds. */
void pgblocker_find(PGconn *waiting, char *out, size_t size);

#endif
