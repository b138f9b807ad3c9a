/* SPDX-License-Identifier: ISC */
/*
 * check_strangers.c - `check`: sessions that are no relays and hold relays' locks
 */
#include "check_subject.h"
#include "postgres.h"
#include "relays.h"

static bool has_our_shards(const struct subject *s, const json_t *session)
{
	const struct config *config = s->config;
	json_int_t shards = s->table.outbox.partitions > 0 ? s->table.outbox.partitions
							   : (json_int_t)config->outbox.shards;

	if (config->outbox.ordering == ORDERING_NONE)
		shards = 0;
	return json_array_size(json_object_get(session, "shards")) > 0 &&
	       json_integer_value(json_object_get(session, "layout")) == shards;
}

/* Relays wait for the end of such a session. */
void check_strangers(const struct subject *s)
{
	json_t *relays, *strangers;
	const json_t *session;
	struct error err;
	size_t i;

	if (!group_read_all(s->conn, s->name, &relays, &strangers, &err)) {
		check_error(s->check, "see the server's log", "%s", err.text);
		return;
	}
	json_array_foreach(strangers, i, session)
	{
		const char *role = json_string_value(json_object_get(session, "role"));
		json_int_t pid = json_integer_value(json_object_get(session, "pid"));

		if (has_our_shards(s, session))
			check_warn(s->check,
				   "end it: pg_terminate_backend, or ROLLBACK PREPARED where the "
				   "session is 0",
				   "session %" JSON_INTEGER_FORMAT " (role %s) is no relay and has "
				   "the lock of shards of %s, whose events wait",
				   pid, role ? role : "unknown", s->shown);
	}
	json_decref(relays);
	json_decref(strangers);
}
