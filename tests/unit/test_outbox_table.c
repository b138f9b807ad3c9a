/* SPDX-License-Identifier: ISC */
/*
 * test_outbox_table.c - which tables can be an outbox, and which partitions its shards
 */
#include "outbox/table.h"

#include "base/shards.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static char id[] = "id", event_id[] = "event_id", type[] = "aggregate_type", key_column[] = "Id",
	    event_type[] = "event_type", none[] = "";
static char one_column[] = "${aggregate_id}", two_columns[] = "${tenant}/${aggregate_id}";

static struct config config_of(char *key, int64_t shards)
{
	return (struct config){
	    .outbox = {.columns = {id, event_id, type, key_column, event_type, none, none, none,
				   none},
		       .shards = shards},
	    .route = {.key = key},
	};
}

/* What is said of such partitions; "" if they will do. */
static const char *said(const struct config *config, int partitions, const char *columns)
{
	static struct error err;
	struct outbox_table table = {
	    .misfit = "", .partitions = partitions, .partitioned_by = columns};

	return outbox_partitions_check(&table, config, "box", &err) ? "" : err.text;
}

enum {
	PARTITIONED_BY,
	MISFIT,
	OBSTACLE,
	REMEDY,
	MARK_OBSTACLE,
	MARK_REMEDY,
	PARTITIONS,
	PARTS,
	COLUMNS
};

static void set(PGresult *result, int column, const char *value)
{
	char copy[64];

	snprintf(copy, sizeof(copy), "%s", value);
	PQsetvalue(result, 0, column, copy, (int)strlen(copy));
}

static void test_a_table_is_read(void **state)
{
	static char names[COLUMNS][16] = {"partitioned_by", "misfit",	   "obstacle",	 "remedy",
					  "mark_obstacle",  "mark_remedy", "partitions", "parts"};
	PGresult *result = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
	PGresAttDesc columns[COLUMNS];
	struct outbox_table table;
	struct error err;

	(void)state;
	memset(columns, 0, sizeof(columns));
	for (int i = 0; i < COLUMNS; i++)
		columns[i].name = names[i];
	PQsetResultAttrs(result, COLUMNS, columns);
	set(result, PARTITIONED_BY, "a\nb");
	set(result, PARTITIONS, "12");
	set(result, PARTS, "30");
	outbox_table_read(result, &table);
	assert_int_equal(table.partitions, 12);
	assert_int_equal(table.parts, 30);
	assert_string_equal(table.partitioned_by, "a\nb");
	assert_true(outbox_table_check(&table, "box", true, &err));

	set(result, MARK_OBSTACLE, "cannot be marked");
	set(result, MARK_REMEDY, "mark it");
	outbox_table_read(result, &table);
	assert_true(outbox_table_check(&table, "box", false, &err));
	assert_false(outbox_table_check(&table, "box", true, &err));
	assert_string_equal(err.text, "box cannot be marked; mark it");

	set(result, OBSTACLE, "is UNLOGGED");
	set(result, REMEDY, "log it");
	outbox_table_read(result, &table);
	assert_false(outbox_table_check(&table, "box", false, &err));
	assert_string_equal(err.text, "box is UNLOGGED; log it");

	set(result, MISFIT, "is no table");
	outbox_table_read(result, &table);
	assert_false(outbox_table_check(&table, "box", false, &err));
	assert_memory_equal(err.text, "box is no table; name ", 22);
	PQclear(result);
}

static void test_the_columns_are_part_of_the_key(void **state)
{
	struct config one = config_of(one_column, 1), two = config_of(two_columns, 1);

	(void)state;
	assert_string_equal(said(&one, 4, "Id"), "");
	assert_string_equal(said(&two, 4, "Id"), "");
	assert_string_equal(said(&two, 4, "tenant\nId"), "");
	assert_non_null(strstr(said(&one, 4, "tenant\nId"), "by column \"tenant\", which"));
	assert_non_null(strstr(said(&one, 4, "aggregate_id"), "by column \"aggregate_id\", which"));
	assert_non_null(strstr(said(&one, 4, "I\nId\nId2"), "by column \"I\", \"Id2\", which"));
	one.outbox.ordering = ORDERING_NONE;
	assert_string_equal(said(&one, 4, "tenant"), "");
}

static void test_each_is_a_shard(void **state)
{
	struct config any = config_of(one_column, 1), four = config_of(one_column, 4);

	(void)state;
	assert_string_equal(said(&four, 4, "Id"), "");
	assert_string_equal(said(&four, 3, "Id"),
			    "outbox.shards is 4, but each of the 3 partitions of table box is a "
			    "shard; leave outbox.shards out");
	four.outbox.ordering = ORDERING_NONE;
	assert_string_equal(said(&four, 3, "Id"), "");
	assert_string_equal(said(&any, SHARDS_MAX, "Id"), "");
	assert_non_null(strstr(said(&any, SHARDS_MAX + 1, "Id"), "; make a table with fewer"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a_table_is_read),
	    cmocka_unit_test(test_the_columns_are_part_of_the_key),
	    cmocka_unit_test(test_each_is_a_shard),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
