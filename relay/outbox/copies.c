/* SPDX-License-Identifier: ISC */
/*
 * copies.c - the copies that letters are owed, for route.dead_letter_topic
 *
 * What is claimed twice was in vain the first time: the topic cannot be used, or brokers refuse
 * what is written to it. Nothing else is to suffer from that, so it is tried again after a while,
 * with one copy.
 */
#include "copies.h"

#include "base/clock.h"
#include "base/pgname.h"
#include "base/xalloc.h"

#include <stdlib.h>

enum { AGAIN_US = 4 * 1000 * 1000 };

struct copies {
	struct session *session;
	char *outbox;	  /* owned; its name for people */
	int64_t first;	  /* the letter that the last claim began with; 0: it found none */
	bool in_vain;	  /* so did the one before it */
	int64_t again_us; /* none is claimed before */
};

static const char *topic(const struct copies *copies)
{
	return session_config(copies->session)->route.dead_letter_topic;
}

struct pg_param copies_param(const struct copies *copies)
{
	return pg_param_text(topic(copies)[0] != '\0' ? "true" : "false");
}

bool copies_may_go(const struct copies *copies)
{
	return topic(copies)[0] != '\0' && clock_monotonic_us() >= copies->again_us;
}

void copies_ask(const struct copies *copies, const struct asker *asker, int tag,
		const struct claim *claim)
{
	struct pg_int8 rows = pg_put_int8(copies->in_vain ? 1 : claim->rows);
	struct pg_int8 bytes = pg_put_int8(claim->bytes);
	struct pg_param params[5] = {pg_param_int8(&rows), pg_param_int8(&bytes),
				     pg_param_text(topic(copies)), pg_param_text(copies->outbox)};
	int count = session_param_shards(copies->session, params, 4);
	session_begin(copies->session);
	session_ask(asker, tag, "copies_claim", params, count, true);
	session_sync(copies->session);
}

void copies_claimed(struct copies *copies, const PGresult *result)
{
	int64_t first = 0;
	if (PQntuples(result) > 0)
		first = pg_get_int8(PQgetvalue(result, 0, PQnfields(result) - 1));
	copies->in_vain = first != 0 && first == copies->first;
	copies->first = first;
	if (copies->in_vain)
		copies->again_us = clock_monotonic_us() + AGAIN_US;
}

void copies_look(const struct copies *copies, const struct asker *asker, int tag)
{
	struct pg_param params[1];
	int count = session_param_shards(copies->session, params, 0);
	if (!copies_may_go(copies))
		return;
	session_ask(asker, tag, "copies_owed", params, count, false);
	session_sync(copies->session);
}

void copies_settle(const struct asker *asker, int tag, const struct outbox_ids_item *items,
		   size_t count)
{
	struct outbox_ids ids;
	outbox_ids_copied(&ids, items, count);
	struct pg_param params[] = {pg_param_text(ids.ids), pg_param_text(ids.identities),
				    pg_param_text(ids.attempts)};
	if (ids.count > 0)
		session_ask(asker, tag, "copies_settle", params, 3, false);
	outbox_ids_free(&ids);
}

void copies_prepare(const struct copies *copies, const struct asker *asker)
{
	const struct outbox_shape *shape = session_shape(copies->session);
	session_prepare(asker, TAG_IGNORE, "copies_claim", outbox_sql_copies_claim(shape));
	session_prepare(asker, TAG_IGNORE, "copies_owed", outbox_sql_copies_owed(shape));
	session_prepare(asker, TAG_IGNORE, "copies_settle", outbox_sql_copies_settle());
}

struct copies *copies_new(struct session *session)
{
	struct copies *copies = xcalloc(1, sizeof(*copies));
	struct pgname name;
	struct error ignored; /* it was parsed when the file was read */
	copies->session = session;
	pgname_parse(session_config(session)->outbox.table, &name, &ignored);
	copies->outbox = xasprintf("%s.%s", name.schema, name.table);
	return copies;
}

void copies_free(struct copies **copies)
{
	if (*copies == NULL)
		return;
	free((*copies)->outbox);
	free(*copies);
	*copies = NULL;
}
