/* SPDX-License-Identifier: ISC */
/*
 * leaves.c - the tables that hold the rows of the outbox, as the catalog has them
 */
#include "leaves.h"

#include "base/xalloc.h"

#include <stdio.h>
#include <stdlib.h>

/* The tables that hold the rows. Those of a leaf follow each other; the leaf itself comes first,
 * and if it is partitioned (relkind "p"), its parts and all between come behind it. A trigger, be
 * it a foreign key's, may put work off to the end of the transaction, itself or by what it does to
 * other tables. */
const char leaves_question[] =
    "WITH RECURSIVE tree (oid, leaf) AS (SELECT c.oid, CASE WHEN p.partstrat = 'h' THEN NULL ELSE "
    "c.oid END FROM pg_class AS c LEFT JOIN pg_partitioned_table AS p ON p.partrelid = c.oid "
    "WHERE c.oid = to_regclass($1) UNION ALL SELECT h.inhrelid, coalesce(tree.leaf, h.inhrelid) "
    "FROM tree JOIN pg_partitioned_table AS p ON p.partrelid = tree.oid JOIN pg_inherits AS h ON "
    "h.inhparent = tree.oid WHERE NOT h.inhdetachpending) "
    "SELECT r.oid::int8, format('%I.%I', n.nspname, r.relname), "
    "has_table_privilege(r.oid, 'SELECT'), has_table_privilege(r.oid, 'DELETE') AND "
    "has_any_column_privilege(r.oid, 'UPDATE'), "
    "EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = r.oid AND t.tgname NOT IN "
    "('outbox_relay_bell', 'outbox_relay_depth_guard')), "
    /* AFTER (neither 2, BEFORE, nor 64, INSTEAD) DELETE or UPDATE: pg_trigger.h */
    "EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = r.oid AND NOT t.tgisinternal AND "
    "t.tgtype & 66 = 0 AND t.tgtype & 24 <> 0), r.relkind = 'p', tree.leaf = r.oid "
    "FROM tree JOIN pg_class AS r ON r.oid = tree.oid "
    "JOIN pg_namespace AS n ON n.oid = r.relnamespace WHERE tree.leaf IS NOT NULL "
    "ORDER BY tree.leaf, tree.leaf <> r.oid, r.oid";

enum {
	LEAF_OID,
	LEAF_NAME,
	LEAF_MAY_READ,
	LEAF_MAY_TAKE,
	LEAF_GUARDED,
	LEAF_VERIFIES,
	LEAF_PARTITIONED,
	LEAF_ITSELF
};

const char leaves_lacks_words[] =
    "the relay's role may not SELECT, DELETE and UPDATE on partition %s; "
    "run outbox-relay migrate again";

static int by_oid(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

/* A leaf, or one of its parts, or what is between them. */
static void read_table(struct outbox_shape *shape, const PGresult *result, int row, size_t *count)
{
	uint32_t oid = (uint32_t)strtoul(PQgetvalue(result, row, LEAF_OID), NULL, 10);
	bool partitioned = PQgetvalue(result, row, LEAF_PARTITIONED)[0] == 't';
	const char *name = PQgetvalue(result, row, LEAF_NAME);
	if (oid != shape->oid)
		shape->tree[shape->tree_count++] = oid;
	if (PQgetvalue(result, row, LEAF_ITSELF)[0] == 't') {
		shape->leaves[(*count)++] =
		    (struct outbox_leaf){.table = xstrdup(name), .oid = oid, .parted = partitioned};
		return;
	}
	if (partitioned)
		return;
	struct outbox_leaf *leaf = &shape->leaves[*count - 1];
	leaf->parts = xrealloc(leaf->parts, (leaf->part_count + 1) * sizeof(*leaf->parts));
	leaf->parts[leaf->part_count++] = (struct outbox_part){xstrdup(name), oid};
}

static void read_tables(struct outbox_shape *shape, const PGresult *result)
{
	size_t rows = (size_t)PQntuples(result), count = 0;
	shape->leaves = xcalloc(rows + 1, sizeof(*shape->leaves));
	shape->tree = xcalloc(rows + 1, sizeof(*shape->tree));
	for (size_t i = 0; i < rows; i++)
		read_table(shape, result, (int)i, &count);
	qsort(shape->tree, shape->tree_count, sizeof(*shape->tree), by_oid);
	shape->leaf_count = count;
}

/* What each says of itself. */
static void examine_tables(const PGresult *result, bool stay, struct leaves_traits *traits,
			   struct error *err)
{
	for (int i = 0; i < PQntuples(result) && err->text[0] == '\0'; i++) {
		if (PQgetvalue(result, i, LEAF_GUARDED)[0] == 't')
			traits->guarded = true;
		traits->verifies |= PQgetvalue(result, i, LEAF_VERIFIES)[0] == 't';
		if (PQgetvalue(result, i, LEAF_MAY_READ)[0] == 't' &&
		    (stay || PQgetvalue(result, i, LEAF_MAY_TAKE)[0] == 't'))
			continue;
		if (PQgetvalue(result, i, LEAF_ITSELF)[0] == 't')
			error_set(err, leaves_lacks_words, PQgetvalue(result, i, LEAF_NAME));
		else
			snprintf(traits->lacks, sizeof(traits->lacks), "%s",
				 PQgetvalue(result, i, LEAF_NAME));
	}
}

/* A statement on no table at all cannot be made. */
static void examine_leaves(const struct outbox_shape *shape, struct error *err)
{
	for (size_t i = 0; i < shape->leaf_count && err->text[0] == '\0'; i++)
		if (shape->leaves[i].parted && shape->leaves[i].part_count == 0)
			error_set(err,
				  "%s is partitioned and has no partition; make its partitions, "
				  "and run outbox-relay migrate again",
				  shape->leaves[i].table);
}

bool leaves_read(struct outbox_shape *shape, const PGresult *result, bool stay,
		 struct leaves_traits *traits, struct error *err)
{
	*traits = (struct leaves_traits){.lacks = ""};
	err->text[0] = '\0';
	read_tables(shape, result);
	examine_tables(result, stay, traits, err);
	examine_leaves(shape, err);
	return err->text[0] == '\0';
}
