/* SPDX-License-Identifier: ISC */
/*
 * handover_producers.c - `handover` on the new side where events are delivered exactly once: the
 * producers that came along are those of the old server. Kafka's ledger says so, and the relays
 * would not begin. The document proves that nothing is in doubt, so that others may take their
 * place.
 */
#include "commands.h"
#include "handover.h"
#include "postgres.h"

bool handover_producers(const struct handover *handover, const json_t *old, json_t *out,
			struct error *err)
{
	const char *params[] = {handover->table};
	PGresult *result;

	if (!json_is_true(json_object_get(old, "empty")))
		return true; /* of what was left, `reconcile` asks the topics what became of it */
	result = pgsync_query(handover->conn, "naming new producers",
			      "SELECT outbox_relay.hand_over_producers($1::regclass) AS producers",
			      1, params, err);
	if (result != NULL && pgsync_text(result, 0, "producers") != NULL)
		json_object_set_new(out, "producers",
				    json_string(pgsync_text(result, 0, "producers")));
	PQclear(result);
	return result != NULL;
}
