/* SPDX-License-Identifier: ISC */
/*
 * test_config.c - the configuration: defaults, values from elsewhere, reload, the samples
 */
#include "commands/commands.h"
#include "config_files.h"

#include <string.h>

static void test_defaults(void **state)
{
	struct config *c = load("t.conf", REQUIRED);

	(void)state;
	assert_string_equal(c->database.dsn, "dbname=shop");
	assert_string_equal(c->outbox.table, "outbox_events");
	assert_string_equal(c->outbox.columns.id, "id");
	assert_string_equal(c->outbox.columns.event_id, "event_id");
	assert_string_equal(c->outbox.columns.aggregate_type, "aggregate_type");
	assert_string_equal(c->outbox.columns.aggregate_id, "aggregate_id");
	assert_string_equal(c->outbox.columns.event_type, "event_type");
	assert_string_equal(c->outbox.columns.payload, "payload");
	assert_string_equal(c->outbox.columns.headers, "headers");
	assert_string_equal(c->outbox.columns.created_at, "created_at");
	assert_string_equal(c->outbox.columns.published_at, "published_at");
	assert_string_equal(c->outbox.published_value, "");
	assert_string_equal(c->outbox.pending_value, "");
	assert_string_equal(c->outbox.where, "");
	assert_int_equal(c->database.pooler, POOLER_NONE);
	assert_int_equal(c->outbox.ordering, ORDERING_KEY);
	assert_int_equal(c->outbox.settle, SETTLE_DELETE);
	assert_int_equal(c->outbox.retention_ms, 7 * 24 * 3600 * 1000);
	assert_int_equal(c->outbox.partitions_ahead, 4);
	assert_int_equal(c->outbox.shards, 1);
	assert_int_equal(c->outbox.claim_rows, 2500);
	assert_int_equal(c->outbox.batch_rows, 10000);
	assert_int_equal(c->outbox.batch_bytes, 16 << 20);
	assert_int_equal(c->outbox.poll_interval_ms, 1000);
	assert_int_equal(c->outbox.sweep_interval_ms, 10000);
	assert_int_equal(c->outbox.stall_timeout_ms, 30000);
	assert_int_equal(c->outbox.on_reject, ON_REJECT_PARK);
	assert_string_equal(c->kafka.bootstrap_servers, "b:9092");
	assert_int_equal(c->kafka.delivery, DELIVERY_AT_LEAST_ONCE);
	assert_string_equal(c->kafka.ledger_topic, "outbox-relay-ledger");
	assert_false(c->kafka.embedded);
	assert_int_equal(c->kafka.properties.count, 1);
	assert_string_equal(c->kafka.properties.items[0], "compression.codec=lz4");
	assert_string_equal(c->route.topic, "events.${aggregate_type}");
	assert_string_equal(c->route.key, "${aggregate_id}");
	assert_int_equal(c->route.headers.count, 2);
	assert_string_equal(c->route.headers.items[0], "id=${event_id}");
	assert_string_equal(c->route.headers.items[1], "type=${event_type}");
	assert_string_equal(c->route.topic_regex, "");
	assert_string_equal(c->route.topic_replacement, "");
	assert_string_equal(c->route.partition, "");
	assert_string_equal(c->route.timestamp, "");
	assert_int_equal(c->encode.key, ENCODE_PLAIN);
	assert_int_equal(c->encode.value, ENCODE_PLAIN);
	assert_int_equal(c->encode.headers, ENCODE_PLAIN);
	assert_int_equal(c->encode.envelope.count, 0);
	assert_false(c->encode.tombstone_on_empty);
	assert_false(c->encode.expand);
	assert_int_equal(c->encode.null_fields, EXPAND_DROP);
	assert_int_equal(c->encode.empty_arrays, EXPAND_DROP);
	assert_string_equal(c->encode.schema_namespace, "");
	assert_string_equal(c->encode.schema_version, "");
	assert_int_equal(c->encode.decimal, DECIMAL_PRECISE);
	assert_int_equal(c->encode.time, TIME_ADAPTIVE);
	assert_int_equal(c->encode.binary, BINARY_BYTES);
	assert_int_equal(c->encode.interval, INTERVAL_NUMERIC);
	assert_string_equal(c->http.listen, "127.0.0.1:9464");
	assert_int_equal(c->log.level, LOG_INFO);
	assert_int_equal(c->log.format, LOG_TEXT);
	config_free(&c);
	assert_null(c);
	config_free(&c);
}

/* As ${file:PATH} does. */
static void test_a_path_starts_at_the_file(void **state)
{
	struct config *c;

	(void)state;
	assert_int_equal(mkdir("dir", 0700), 0);
	c = load("dir/t.conf", KAFKA "database = { dsn = \"d\"; password_file = \"p\"; };");
	assert_string_equal(c->database.password_file, "dir/p");
	assert_string_equal(c->database.password_command, "");
	config_free(&c);
	c = load("dir/t.conf", KAFKA "database = { dsn = \"d\"; password_file = \"\"; };");
	assert_string_equal(c->database.password_file, "");
	config_free(&c);
	unlink("dir/t.conf");
}

static void test_every_value_can_be_set(void **state)
{
	struct config *c = load(
	    "t.conf",
	    "database = { dsn = \"d\"; password_file = \"/p\"; password_command = \"\"; };"
	    "outbox = { table = \"\\\"My Schema\\\".t\"; ordering = \"key\"; settle = \"mark\";"
	    " columns = { id = \"i\"; event_id = \"e\"; aggregate_type = \"at\"; aggregate_id = "
	    "\"ai\";"
	    "  event_type = \"et\"; payload = \"p\"; headers = \"\"; created_at = \"\";"
	    "  published_at = \"s\"; };"
	    " published_value = \"SENT\"; pending_value = \"NEW\"; where = \"a = 1\";"
	    " retention = \"1h\"; partitions_ahead = 9; shards = 1; claim_rows = 7; batch_rows = "
	    "7; batch_bytes = "
	    "\"64KiB\";"
	    " poll_interval = \"10ms\"; sweep_interval = \"100ms\"; stall_timeout = \"1s\";"
	    " on_reject = \"dead-letter\"; publish_after = \"standby\";"
	    " publish_standbys = \"any 1 (a)\"; };"
	    "kafka = { bootstrap_servers = \"x:1\";"
	    " sasl_password_file = \"/s\"; oauthbearer_token_command = \"c\";"
	    " embedded = true; properties = [ \"a.b=c=d\", \"e=\" ]; };"
	    "route = { topic = \"t$$\"; key = \"k\"; headers = ( ); dead_letter_topic = \"d\"; };"
	    "http = { listen = \"\"; }; log = { level = \"debug\"; format = \"json\"; };");

	(void)state;
	assert_string_equal(c->database.password_file, "/p");
	assert_string_equal(c->database.password_command, "");
	assert_string_equal(c->kafka.sasl_password_file, "/s");
	assert_string_equal(c->kafka.oauthbearer_token_command, "c");
	assert_string_equal(c->outbox.table, "\"My Schema\".t");
	assert_string_equal(c->outbox.columns.id, "i");
	assert_string_equal(c->outbox.columns.event_id, "e");
	assert_string_equal(c->outbox.columns.aggregate_type, "at");
	assert_string_equal(c->outbox.columns.aggregate_id, "ai");
	assert_string_equal(c->outbox.columns.event_type, "et");
	assert_string_equal(c->outbox.columns.payload, "p");
	assert_string_equal(c->outbox.columns.headers, "");
	assert_string_equal(c->outbox.columns.created_at, "");
	assert_string_equal(c->outbox.columns.published_at, "s");
	assert_string_equal(c->outbox.published_value, "SENT");
	assert_string_equal(c->outbox.pending_value, "NEW");
	assert_string_equal(c->outbox.where, "a = 1");
	assert_int_equal(c->outbox.settle, SETTLE_MARK);
	assert_int_equal(c->outbox.retention_ms, 3600000);
	assert_int_equal(c->outbox.partitions_ahead, 9);
	assert_int_equal(c->outbox.claim_rows, 7);
	assert_int_equal(c->outbox.batch_rows, 7);
	assert_int_equal(c->outbox.batch_bytes, 65536);
	assert_int_equal(c->outbox.poll_interval_ms, 10);
	assert_int_equal(c->outbox.sweep_interval_ms, 100);
	assert_int_equal(c->outbox.stall_timeout_ms, 1000);
	assert_int_equal(c->outbox.on_reject, ON_REJECT_DEAD_LETTER);
	assert_int_equal(c->outbox.publish_after, PUBLISH_AFTER_STANDBY);
	assert_string_equal(c->outbox.publish_standbys, "any 1 (a)");
	assert_true(c->kafka.embedded);
	assert_int_equal(c->kafka.properties.count, 2);
	assert_string_equal(c->kafka.properties.items[0], "a.b=c=d");
	assert_string_equal(c->kafka.properties.items[1], "e=");
	assert_string_equal(c->route.topic, "t$$");
	assert_string_equal(c->route.dead_letter_topic, "d");
	assert_int_equal(c->route.headers.count, 0);
	assert_string_equal(c->http.listen, "");
	assert_int_equal(c->log.level, LOG_DEBUG);
	assert_int_equal(c->log.format, LOG_JSON);
	config_free(&c);
}

static void test_values_from_elsewhere(void **state)
{
	struct config *c;

	(void)state;
	write_file("secret", "s3cret\n\n");
	c = load("t.conf", "database = { dsn = \"a=${env:TEST_CONFIG} b='${file:secret}'$${c}\"; };"
			   "kafka = { bootstrap_servers = \"b:1\"; properties = ("
			   "\"sasl.password=${file:secret}\", \"client.id=${env:TEST_CONFIG}\"); };"
			   "route = { topic = \"${env:TEST_CONFIG}.${aggregate_type}${\";"
			   " headers = ( \"a=${ENV:X}${environment}${file}\" ); };");
	assert_string_equal(c->database.dsn, "a=from-env b='s3cret\n'$${c}");
	assert_string_equal(c->kafka.properties.items[0], "sasl.password=s3cret\n");
	assert_string_equal(c->kafka.properties.items[1], "client.id=from-env");
	assert_string_equal(c->route.topic, "from-env.${aggregate_type}${");
	assert_string_equal(c->route.headers.items[0], "a=${ENV:X}${environment}${file}");
	config_free(&c);

	/* What is put in is not looked at again. */
	setenv("TEST_CONFIG", "${env:TEST_CONFIG}", 1);
	c = load("t.conf", KAFKA "database = { dsn = \"${env:TEST_CONFIG}\"; };");
	assert_string_equal(c->database.dsn, "${env:TEST_CONFIG}");
	config_free(&c);

	setenv("TEST_CONFIG", "250ms", 1);
	c = load("t.conf", REQUIRED "outbox = { poll_interval = \"${env:TEST_CONFIG}\"; };");
	assert_int_equal(c->outbox.poll_interval_ms, 250);
	config_free(&c);
}

struct collected {
	char text[4096];
};

static void collect_change(const char *path, bool applied, void *arg)
{
	struct collected *collected = arg;
	size_t used = strlen(collected->text);

	snprintf(collected->text + used, sizeof(collected->text) - used, "%s%s ", path,
		 applied ? "+" : "-");
}

static void test_reload(void **state)
{
	struct config *live = load("t.conf", REQUIRED);
	struct config *fresh =
	    load("two.conf",
		 "database = { dsn = \"new\"; password_command = \"echo\"; pooler = \"session\"; };"
		 "outbox = { table = \"t\"; columns = { id = \"i\"; }; settle = \"mark\";"
		 " retention = \"1h\"; partitions_ahead = 9; claim_rows = 7; batch_rows = 8; "
		 "batch_bytes = \"1MiB\";"
		 " poll_interval = \"2s\"; sweep_interval = \"3s\"; stall_timeout = \"4s\";"
		 " on_reject = \"dead-letter\"; };"
		 "kafka = { bootstrap_servers = \"x:1\"; embedded = true;"
		 " sasl_password_file = \"/s\"; oauthbearer_token_command = \"c\";"
		 " properties = ( \"compression.codec=zstd\" ); };"
		 "route = { topic = \"t\"; key = \"k\"; headers = ( \"id=${event_id}\" );"
		 " dead_letter_topic = \"d\"; };"
		 "http = { listen = \"\"; }; log = { level = \"debug\"; format = \"json\"; };");
	struct collected changes = {""};

	(void)state;
	config_reload(live, fresh, collect_change, &changes);
	assert_string_equal(
	    changes.text,
	    "database.dsn+ database.password_command+ database.pooler+ outbox.table- "
	    "outbox.columns.id- outbox.settle- outbox.retention- "
	    "outbox.partitions_ahead+ outbox.claim_rows+ outbox.batch_rows+ outbox.batch_bytes+ "
	    "outbox.poll_interval+ "
	    "outbox.sweep_interval+ outbox.stall_timeout+ outbox.on_reject+ "
	    "kafka.bootstrap_servers- kafka.embedded- kafka.sasl_password_file+ "
	    "kafka.oauthbearer_token_command+ kafka.properties- "
	    "route.topic- route.key- route.dead_letter_topic+ route.headers- http.listen- "
	    "log.level+ log.format+ ");
	assert_string_equal(live->database.dsn, "new");
	assert_int_equal(live->outbox.claim_rows, 7);
	assert_int_equal(live->outbox.batch_rows, 8);
	assert_int_equal(live->outbox.batch_bytes, 1 << 20);
	assert_int_equal(live->outbox.poll_interval_ms, 2000);
	assert_int_equal(live->outbox.sweep_interval_ms, 3000);
	assert_int_equal(live->outbox.stall_timeout_ms, 4000);
	assert_string_equal(live->route.dead_letter_topic, "d");
	assert_int_equal(live->log.level, LOG_DEBUG);
	assert_int_equal(live->log.format, LOG_JSON);
	assert_string_equal(live->outbox.table, "outbox_events");
	assert_int_equal(live->outbox.settle, SETTLE_DELETE);
	assert_string_equal(live->kafka.properties.items[0], "compression.codec=lz4");
	config_free(&fresh);

	/* Nothing more to tell about the same file once it is applied. */
	fresh = load("t.conf", REQUIRED);
	changes.text[0] = '\0';
	config_reload(live, fresh, collect_change, &changes);
	config_free(&fresh);
	fresh = load("t.conf", REQUIRED);
	changes.text[0] = '\0';
	config_reload(live, fresh, collect_change, &changes);
	assert_string_equal(changes.text, "");
	assert_string_equal(live->database.dsn, "dbname=shop");
	config_free(&fresh);
	config_free(&live);
}

static bool holds_secret(const char *dsn)
{
	char text[512];
	struct config *c;
	bool holds;

	snprintf(text, sizeof(text),
		 "database = { dsn = \"%s\"; }; kafka = { bootstrap_servers = \"b:9092\"; };", dsn);
	c = load("t.conf", text);
	holds = c->holds_secret;
	config_free(&c);
	return holds;
}

/* As the file has it, whatever is put in. */
static void test_a_secret_in_the_file(void **state)
{
	struct config *c;

	(void)state;
	write_file("secret", "s3cret");
	setenv("TEST_CONFIG", "s3cret", 1);
	assert_false(holds_secret("host=a user=password"));
	assert_false(holds_secret("host=a password='${file:secret}'"));
	assert_false(holds_secret("host=a password=${env:TEST_CONFIG} user=u"));
	assert_false(holds_secret("postgresql://u@h:5432/d?user=a@b"));
	assert_false(holds_secret("postgresql://u:${env:TEST_CONFIG}@h/d"));
	assert_true(holds_secret("host=a password=s3cret"));
	assert_true(holds_secret("host=a password = 's3cret'"));
	assert_true(holds_secret("postgresql://u:s3cret@h:5432/d"));
	unsetenv("TEST_CONFIG");
	c = load("t.conf", "database = { dsn = \"a=${file:secret} b=${file:/dev/null}\"; };"
			   "kafka = { bootstrap_servers = \"b:9092\";"
			   " properties = ( \"sasl.oauthbearer.client.secret=x\" ); };");
	assert_true(c->holds_secret);
	assert_int_equal(c->secret_files.count, 2);
	assert_string_equal(strrchr(c->secret_files.items[0], '/'), "/secret");
	assert_string_equal(c->secret_files.items[1], "/dev/null");
	config_free(&c);
}

static void test_the_samples_load(void **state)
{
	static const char *const samples[] = {SOURCE_DIR "/conf/outbox-relay.conf",
					      SOURCE_DIR "/conf/minimal.conf"};

	(void)state;
	for (size_t i = 0; i < COUNT(samples); i++) {
		struct config_problems problems = {NULL, 0};
		struct config *config = command_load(samples[i], &problems);

		if (config == NULL)
			fail_msg("%s", problems.items[0].text);
		config_free(&config);
		config_problems_free(&problems);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    IN_DIRECTORY(test_defaults),
	    IN_DIRECTORY(test_a_path_starts_at_the_file),
	    IN_DIRECTORY(test_every_value_can_be_set),
	    IN_DIRECTORY(test_values_from_elsewhere),
	    IN_DIRECTORY(test_reload),
	    IN_DIRECTORY(test_a_secret_in_the_file),
	    cmocka_unit_test(test_the_samples_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
