/* SPDX-License-Identifier: ISC */
/*
 * position_home.c - whose the positions of the outbox are, and of which shards
 */
#include "position_home.h"

#include "base/xalloc.h"
#include "outbox/obstacles.h"
#include "outbox/registry.h"

#include <stdlib.h>
#include <string.h>

const char position_home_question[] =
    "SELECT o.position_layout, array_to_string(o.position_keys, chr(31)), o.position_home, "
    "outbox_relay.position_home(o.outbox), outbox_relay.lacks_positions(o.outbox), (SELECT "
    "string_agg(t.relid::regclass::text, ', ') FROM " OUTBOX_TREE " AS t WHERE " OUTBOX_MAY_HIDE(
	"t.relid") ") FROM outbox_relay.outboxes AS o JOIN pg_class AS c "
		   "ON c.oid = o.outbox WHERE o.outbox = to_regclass($1)";

enum {
	POSITION_LAYOUT,
	POSITION_KEYS,
	POSITION_HOME,
	POSITION_HERE,
	POSITION_LACKS,
	POSITION_HIDDEN
};

static void read_keys(struct outbox_shape *shape, const char *text)
{
	for (const char *key = text; *text != '\0'; key += strcspn(key, "\x1f") + 1) {
		size_t len = strcspn(key, "\x1f");
		shape->position_keys = xrealloc(shape->position_keys,
						(shape->position_key_count + 1) * sizeof(char *));
		shape->position_keys[shape->position_key_count++] =
		    xasprintf("%.*s", (int)len, key);
		if (key[len] == '\0')
			return;
	}
}

static bool same_keys(const struct outbox_shape *shape)
{
	if (shape->position_key_count != shape->key_count)
		return false;
	for (size_t i = 0; i < shape->key_count; i++)
		if (strcmp(shape->position_keys[i], shape->keys[i]) != 0)
			return false;
	return true;
}

bool position_home_read(struct outbox_shape *shape, const PGresult *result, struct error *err)
{
	bool known = PQntuples(result) > 0;
	int shards = shape->hashed > 0 ? shape->hashed : 1;
	if (!outbox_home_check(known ? PQgetvalue(result, 0, POSITION_HOME) : "",
			       known ? PQgetvalue(result, 0, POSITION_HERE) : "", shape->table,
			       err))
		return false;
	shape->position_layout = atoi(PQgetvalue(result, 0, POSITION_LAYOUT));
	read_keys(shape, PQgetvalue(result, 0, POSITION_KEYS));
	if (shape->partitioned != (shape->position_layout == 0))
		return error_set(err,
				 "the positions of table %s are of a table that was partitioned in "
				 "another way; run outbox-relay migrate",
				 shape->table);
	if (PQgetvalue(result, 0, POSITION_LACKS)[0] != 'f')
		return error_set(
		    err,
		    "a partition of table %s has no position, so that nobody knows what "
		    "of it is published: it was attached lately; have its owner say where "
		    "to go on: SELECT outbox_relay.set_position('%s', 'end'), or 'start' "
		    "or 'from' (see docs/positions.md)",
		    shape->table, shape->table);
	if (PQgetvalue(result, 0, POSITION_HIDDEN)[0] != '\0')
		return error_set(
		    err,
		    "row-level security may hide rows of %s from this role, and rows that are "
		    "hidden when the position passes them are never published: add a policy "
		    "FOR SELECT USING (true) for the role, or ALTER ROLE ... BYPASSRLS",
		    PQgetvalue(result, 0, POSITION_HIDDEN));
	shape->aligns = !shape->partitioned &&
			(shape->position_layout != shards || (shards > 1 && !same_keys(shape)));
	return true;
}
