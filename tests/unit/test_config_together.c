/* SPDX-License-Identifier: ISC */
/*
 * test_config_together.c - what is right by itself and wrong with something else
 */
#include "config_files.h"

static void test_standbys_and_who_waits_for_them(void **state)
{
	static const struct bad bad[] = {
	    {REQUIRED "outbox = { publish_after = \"standby\"; };",
	     "t.conf:1: outbox.publish_after = \"standby\" waits for standbys, and none is named; "
	     "set "
	     "outbox.publish_standbys, such as \"ANY 1 (a, b)\""},
	    {REQUIRED "outbox = { publish_after = \"flush\";\n publish_standbys = \"a\"; };",
	     "t.conf:2: outbox.publish_standbys is set, and nobody waits for them; set "
	     "outbox.publish_after = \"standby\", or remove it"},
	    {REQUIRED "outbox = { publish_after = \"standby\"; publish_standbys = \"a, b\"; };",
	     "t.conf:1: outbox.publish_standbys: \"a, b\" does not say whose word counts; write "
	     "\"ANY 1 (standby1, standby2)\", so many of these by their application_name, or the "
	     "name of a single one"},
	};

	(void)state;
	check_all(bad, COUNT(bad));
}

static void test_delivery(void **state)
{
	static const struct bad bad[] = {
	    {DATABASE "kafka = { bootstrap_servers = \"b:1\";\n delivery = \"exactly-once\"; };\n"
		      "outbox = { ordering = \"none\"; };",
	     "t.conf:2: kafka.delivery = \"exactly-once\" goes with an order only; remove "
	     "outbox.ordering = \"none\""},
	    {DATABASE "kafka = { embedded = true;\n delivery = \"exactly-once\"; };",
	     "t.conf:2: kafka.delivery = \"exactly-once\" needs brokers of Kafka; the one in the "
	     "relay (kafka.embedded) has no transactions that last"},
	};
	struct config *config =
	    load("t.conf", DATABASE "kafka = { bootstrap_servers = \"b:1\"; delivery = "
				    "\"exactly-once\"; ledger_topic = \"shop-ledger\"; };");

	(void)state;
	assert_int_equal(config->kafka.delivery, DELIVERY_EXACTLY_ONCE);
	assert_string_equal(config->kafka.ledger_topic, "shop-ledger");
	config_free(&config);
	check_all(bad, COUNT(bad));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    IN_DIRECTORY(test_standbys_and_who_waits_for_them),
	    IN_DIRECTORY(test_delivery),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
