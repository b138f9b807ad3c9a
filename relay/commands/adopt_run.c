/* SPDX-License-Identifier: ISC */
/*
 * adopt_run.c - takes the steps of an adoption, each a transaction of its own
 *
 * A step that changes the catalog waits for a lock on the table, and others wait behind it: so it
 * waits shortly, and often.
 */
#include "adopt.h"

#include "base/xalloc.h"
#include "postgres.h"
#include "waiting.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TRIES = 20 };

static bool try_step(PGconn *conn, const struct adopt_step *step, struct error *err)
{
	const char *timeout = step->waits ? "SET lock_timeout = '500ms'" : "SET lock_timeout = 0";

	return pgsync_script(conn, "setting a timeout", timeout, err) &&
	       pgsync_script(conn, step->what, step->sql, err);
}

static bool take_step(PGconn *conn, const struct adopt_step *step, struct error *err)
{
	for (int tries = 1;; tries++) {
		if (try_step(conn, step, err))
			return true;
		if (!pgsync_lacked_lock() || tries == TRIES)
			return false;
		waiting_pause(1000);
	}
}

bool adopt_steps_run(PGconn *conn, const struct adopt_steps *steps, struct error *err)
{
	bool good =
	    pgsync_script(conn, "beginning the steps", "ROLLBACK; SET statement_timeout = 0", err);

	for (size_t i = 0; good && i < steps->count; i++) {
		fprintf(stderr, "step %zu of %zu: %s\n", i + 1, steps->count, steps->items[i].what);
		good = take_step(conn, &steps->items[i], err);
	}
	return good && pgsync_script(conn, "ending the steps", "RESET lock_timeout", err);
}
