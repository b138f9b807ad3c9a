/* SPDX-License-Identifier: ISC */
/*
 * handover_producers.c - `handover` on the new side where events are delivered exactly once: the
 * producers that came along are those of the old server. Kafka's ledger says so, and the relays
 * would not begin. The document proves that no event is in doubt, so that others may take their
 * place; what else may be, hand_over_producers (sql/0018_reconcile.sql) looks at.
 */
#include "commands.h"
#include "handover.h"
#include "postgres.h"

bool handover_producers(const struct handover *handover, const json_t *old, json_t *out,
			struct error *err)
{
	const json_t *server = json_object_get(old, "server");
	const char *params[] = {handover->table,
				json_string_value(json_object_get(server, "system_identifier"))};
	PGresult *result;
	const char *text;

	if (handover->config->kafka.delivery != DELIVERY_EXACTLY_ONCE ||
	    !json_is_true(json_object_get(old, "empty")))
		return true; /* of what was left, `reconcile` asks the topics what became of it */
	result =
	    pgsync_query(handover->conn, "naming new producers",
			 "SELECT outbox_relay.hand_over_producers($1::regclass, $2) AS producers",
			 2, params, err);
	if (result == NULL)
		return false;
	text = pgsync_text(result, 0, "producers");
	json_object_set_new(out, "producers", text != NULL ? json_string(text) : json_null());
	PQclear(result);
	return true;
}
