/* SPDX-License-Identifier: ISC */
/*
 * test_adopt_done.c - which columns say that an event was handled, and when
 */
#include "commands/adopt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct adopt_column column_of(const char *name, const char *type)
{
	struct adopt_column column = {.unique = false};

	snprintf(column.name, sizeof(column.name), "%s", name);
	snprintf(column.type, sizeof(column.type), "%s", type);
	return column;
}

static enum adopt_says said(const char *name, const char *type)
{
	struct adopt_column column = column_of(name, type);

	return adopt_says(&column);
}

static void says(const char *name, const char *type, const char *condition)
{
	struct adopt_column column = column_of(name, type);
	char *found = adopt_done_condition(&column);

	if (condition)
		assert_string_equal(found, condition);
	else
		assert_null(found);
	free(found);
}

static void test_names(void **state)
{
	static const char *const done[] = {"processed",	    "PROCESSED",    "is_published",
					   "publishedAt",   "published_on", "sent_date",
					   "sent_message",  "done",	    "delivered_timestamp",
					   "sent_to_kafka", "already_sent", "hasBeenSent",
					   "sent_ok",	    "pushed"};
	static const char *const harmless[] = {
	    "process_id", "sender",  "created_at",  "occurred_on", "sentence",
	    "condone",	  "payload", "processor",   "at",	   "isolated",
	    "island",	  "tenant",  "republish_at"};
	char condition[128];

	(void)state;
	for (size_t i = 0; i < sizeof(done) / sizeof(done[0]); i++) {
		snprintf(condition, sizeof(condition), "\"%s\"", done[i]);
		says(done[i], "bool", condition);
	}
	for (size_t i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++)
		says(harmless[i], "bool", NULL);
}

static void test_types(void **state)
{
	(void)state;
	says("processed", "int2", "\"processed\" <> 0");
	says("processed_at", "date", "\"processed_at\" IS NOT NULL");
	says("sent", "bpchar",
	     "lower(btrim(\"sent\"::text)) NOT IN ('', 'n', 'no', 'f', 'false', '0')");
	says("Status", "int4", "\"Status\" <> 0");
	says("delivery_state", "bool", "\"delivery_state\"");
	says("date_processed", "timestamptz", "\"date_processed\" IS NOT NULL");
	says("publish_time", "text", NULL);
	says("published_by", "text", NULL);
	says("stage", "int2", "\"stage\" <> 0");
	says("unsent", "bool", "NOT \"unsent\"");
	says("is_new", "bool", "NOT \"is_new\"");
}

/* What a name may say, and the contrary. */
static void test_unsure(void **state)
{
	static const char *const names[][2] = {{"not_sent", "bool"},
					       {"to_be_sent", "bool"},
					       {"not_yet_published", "bool"},
					       {"readyToBePublished", "bool"},
					       {"can_be_deleted", "bool"},
					       {"needs_publishing", "bool"},
					       {"publish", "bool"},
					       {"dispatched_by", "bool"},
					       {"pending", "int2"},
					       {"unsent", "bpchar"},
					       {"unsent_since", "timestamptz"},
					       {"publish_at", "timestamptz"},
					       {"publish_time", "timestamp"},
					       {"next_dispatch_at", "timestamptz"},
					       {"processing_started_at", "timestamptz"},
					       {"deliver_by", "timestamp"},
					       {"pending_publish", "bool"}};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_int_equal(said(names[i][0], names[i][1]), ADOPT_UNSURE);
	assert_int_equal(said("is_unpublished", "bool"), ADOPT_WAITS);
	assert_int_equal(said("undelivered", "bool"), ADOPT_WAITS);
	assert_int_equal(said("is_new", "bool"), ADOPT_WAITS);
	assert_int_equal(said("sent_ts", "timestamptz"), ADOPT_DONE);
	assert_int_equal(said("last_sent_at", "timestamptz"), ADOPT_DONE);
	assert_int_equal(said("email_sent", "bool"), ADOPT_DONE);
	assert_int_equal(said("pending_since", "timestamptz"), ADOPT_NOTHING);
	assert_int_equal(said("is_new_customer", "bool"), ADOPT_NOTHING);
	assert_int_equal(said("new", "jsonb"), ADOPT_NOTHING);
	assert_int_equal(said("new_event", "text"), ADOPT_NOTHING);
	assert_int_equal(said("send_email", "bool"), ADOPT_NOTHING);
	assert_int_equal(said("delivery_date", "date"), ADOPT_NOTHING);
	assert_int_equal(said("sent_count", "int4"), ADOPT_NOTHING);
	assert_int_equal(said("order_status", "int4"), ADOPT_STATUS);
}

static void test_values(void **state)
{
	static const char *const published[] = {"SENT", "Published", "done", "PROCESSED", "1", "Y"};
	static const char *const pending[] = {"NEW",	  "pending",	 "0",		"N",
					      "NOT_SENT", "unpublished", "PENDING_SEND"};
	static const char *const neither[] = {"FAILED", "processing", "PUBLISHING", "2", "error"};

	(void)state;
	for (size_t i = 0; i < sizeof(published) / sizeof(published[0]); i++)
		assert_true(adopt_says_published(published[i]) &&
			    !adopt_says_pending(published[i]));
	for (size_t i = 0; i < sizeof(pending) / sizeof(pending[0]); i++)
		assert_true(adopt_says_pending(pending[i]) && !adopt_says_published(pending[i]));
	for (size_t i = 0; i < sizeof(neither) / sizeof(neither[0]); i++)
		assert_true(!adopt_says_pending(neither[i]) && !adopt_says_published(neither[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_names),
	    cmocka_unit_test(test_types),
	    cmocka_unit_test(test_unsure),
	    cmocka_unit_test(test_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
