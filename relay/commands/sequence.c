/* SPDX-License-Identifier: ISC */
/*
 * sequence.c - the sequence that numbers a table's rows, and whether its numbers have an order
 */
#include "sequence.h"

#include "postgres.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

/* A serial's belongs to the column; another one is known by the default that names it. */
const char sequence_question[] =
    "SELECT s.seqcache, s.seqincrement, s.seqcycle,"
    " s.seqrelid::regclass::text AS name FROM pg_sequence s WHERE s.seqrelid IN ("
    "  SELECT pg_get_serial_sequence($1, $2)::regclass"
    "  UNION SELECT d.refobjid FROM pg_attribute a"
    "   JOIN pg_attrdef ad ON ad.adrelid = a.attrelid AND ad.adnum = a.attnum"
    "   JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = ad.oid"
    "   WHERE a.attrelid = to_regclass($1) AND a.attname = $2"
    "    AND d.refclassid = 'pg_class'::regclass)";

__attribute__((format(printf, 4, 5))) static void find(struct sequence_finding *finding,
						       enum sequence_state state,
						       const char *remedy, const char *format, ...)
{
	va_list args;

	finding->state = state;
	finding->remedy = remedy;
	va_start(args, format);
	vsnprintf(finding->what, sizeof(finding->what), format, args);
	va_end(args);
}

/* A session keeps what it has drawn in advance, whatever the sequence is altered to (manual: ALTER
 * SEQUENCE, Notes). */
void sequence_judge(const PGresult *result, struct sequence_finding *finding)
{
	const char *name;
	int64_t cache, increment;

	if (PQntuples(result) == 0) {
		find(finding, SEQUENCE_MISSING,
		     "make the column an identity, or see `outbox-relay migrate --adopt`",
		     "ids do not come from a sequence of the database; with ids from the "
		     "application there is no order to keep");
		return;
	}
	name = pgsync_text(result, 0, "name");
	cache = pgsync_number(result, 0, "seqcache");
	increment = pgsync_number(result, 0, "seqincrement");
	if (cache != 1)
		find(finding, SEQUENCE_BREAKS,
		     "ALTER SEQUENCE ... CACHE 1 (for an identity too), and have all sessions that "
		     "insert connect anew",
		     "sequence %s has CACHE %" PRId64 "; sessions then give early ids to late "
		     "events, and order is lost",
		     name, cache);
	else if (increment < 0 || pgsync_bool(result, 0, "seqcycle"))
		find(finding, SEQUENCE_BREAKS, "ALTER SEQUENCE ... INCREMENT 1 NO CYCLE",
		     "sequence %s does not only ascend", name);
	else if (increment != 1)
		find(finding, SEQUENCE_SKIPS,
		     "see that no application gives ids of its own from blocks (Hibernate's "
		     "pooled optimizer does)",
		     "sequence %s has INCREMENT %" PRId64, name, increment);
	else
		find(finding, SEQUENCE_RIGHT, NULL, "ids come from sequence %s, one by one", name);
}
