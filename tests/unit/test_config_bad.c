/* SPDX-License-Identifier: ISC */
/*
 * test_config_bad.c - every complaint about a configuration, in full
 */
#include "config_files.h"

#include <string.h>

static void test_unknown(void **state)
{
	static const struct bad bad[] = {
	    {REQUIRED "\noutbox = { pol_interval = \"1s\"; };",
	     "t.conf:2: unknown option outbox.pol_interval; did you mean outbox.poll_interval?"},
	    {REQUIRED "\n\noutbox = {\n poll-interval = \"1s\"; };",
	     "t.conf:4: unknown option outbox.poll-interval; did you mean outbox.poll_interval?"},
	    {REQUIRED "outbox = { columns = { payloads = \"x\"; }; };",
	     "t.conf:1: unknown option outbox.columns.payloads; did you mean "
	     "outbox.columns.payload?"},
	    {REQUIRED "http = { embedded = true; };",
	     "t.conf:1: unknown option http.embedded; did you mean kafka.embedded?"},
	    {REQUIRED "outbox = { dns = \"x\"; };",
	     "t.conf:1: unknown option outbox.dns; allowed in outbox: table, columns, ordering, "
	     "settle, published_value, pending_value, where, retention, partitions_ahead, shards, "
	     "claim_rows, batch_rows, batch_bytes, "
	     "poll_interval, sweep_interval, stall_timeout, session_timeout, on_reject, "
	     "publish_after, publish_standbys"},
	    {REQUIRED "zebra = 1;", "t.conf:1: unknown option zebra; allowed: database, outbox, "
				    "kafka, route, encode, http, log"},
	    {REQUIRED "logs = { level = \"info\"; };",
	     "t.conf:1: unknown group logs; did you mean log?"},
	    {REQUIRED "metrics = { };", "t.conf:1: unknown group metrics; allowed: database, "
					"outbox, kafka, route, encode, http, log"},
	    {REQUIRED "columns = { };",
	     "t.conf:1: unknown group columns; did you mean outbox.columns?"},
	};

	(void)state;
	check_all(bad, COUNT(bad));
}

static void test_wrong_type(void **state)
{
	static const struct bad bad[] = {
	    {REQUIRED "outbox = { poll_interval = 500; };",
	     "t.conf:1: outbox.poll_interval is a whole number; a duration is needed: a string "
	     "with "
	     "a unit, such as \"1s\""},
	    {REQUIRED "outbox = { batch_bytes = 16777216; };",
	     "t.conf:1: outbox.batch_bytes is a whole number; a size is needed: a string with a "
	     "unit, such as \"16MiB\""},
	    {REQUIRED "outbox = { claim_rows = \"100\"; };",
	     "t.conf:1: outbox.claim_rows is a string; a whole number is needed, without quotes, "
	     "such as 2500"},
	    {REQUIRED "outbox = { claim_rows = 1.5; };",
	     "t.conf:1: outbox.claim_rows is a number with a fraction; a whole number is needed, "
	     "without quotes, such as 2500"},
	    {REQUIRED "outbox = { table = { }; };",
	     "t.conf:1: outbox.table is a group; a string is needed, such as \"outbox_events\""},
	    {REQUIRED "outbox = { settle = true; };",
	     "t.conf:1: outbox.settle is true or false; a string is needed, such as \"delete\""},
	    {DATABASE "kafka = { bootstrap_servers = ( \"a:1\" ); };",
	     "t.conf:1: kafka.bootstrap_servers is a list; a string is needed, such as "
	     "\"127.0.0.1:9092\""},
	    {DATABASE "kafka = { bootstrap_servers = \"b:1\"; embedded = \"yes\"; };",
	     "t.conf:1: kafka.embedded is a string; true or false is needed, without quotes, such "
	     "as false"},
	    {DATABASE "kafka = { bootstrap_servers = \"b:1\"; embedded = 1; };",
	     "t.conf:1: kafka.embedded is a whole number; true or false is needed, without quotes, "
	     "such as false"},
	    {REQUIRED "route = { headers = \"a=b\"; };",
	     "t.conf:1: route.headers is a string; a list of strings is needed, such as ( "
	     "\"id=${event_id}\" )"},
	    {REQUIRED "route = {\n headers = ( \"a=b\",\n 5 ); };",
	     "t.conf:3: route.headers, item 2 is a whole number; a string is needed"},
	    {REQUIRED "outbox = { columns = \"id\"; };",
	     "t.conf:1: outbox.columns is a string; a group is needed: columns = { ... };"},
	    {KAFKA "\ndatabase = \"dbname=shop\";",
	     "t.conf:2: database is a string; a group is needed: database = { ... };\n"
	     "t.conf: database.dsn is missing; it is required, such as dsn = \"host=127.0.0.1 "
	     "dbname=shop user=outbox_relay\""},
	};

	(void)state;
	check_all(bad, COUNT(bad));
}

/* libconfig 1.5 reads 4294967297 as 1. */
static void test_cut_numbers(void **state)
{
	static const struct bad bad[] = {
	    {REQUIRED "outbox = {\n claim_rows = 4294967297; };",
	     "t.conf:2: 4294967297 is too large for a whole number; the largest is 2147483647"},
	    {REQUIRED "outbox = { claim_rows = 2147483648;\n batch_rows = 0x100000001; };",
	     "t.conf:1: 2147483648 is too large for a whole number; the largest is 2147483647\n"
	     "t.conf:2: 0x100000001 is too large for a whole number; the largest is 2147483647"},
	    {REQUIRED "outbox = { claim_rows = 99999999999999999999999; };",
	     "t.conf:1: 99999999999999999999999 is too large for a whole number; the largest is "
	     "2147483647"},
	    {REQUIRED "/* 4294967297\n \" */ outbox = { batch_rows = 4294967297; };",
	     "t.conf:2: 4294967297 is too large for a whole number; the largest is 2147483647"},
	    {REQUIRED "outbox = { claim_rows = 2147483647; };",
	     "t.conf:1: outbox.claim_rows is 2147483647, too large; allowed are 1 to 100000"},
	    {REQUIRED "outbox = { claim_rows = 0.4294967297; };",
	     "t.conf:1: outbox.claim_rows is a number with a fraction; a whole number is needed, "
	     "without quotes, such as 2500"},
	};
	char *said;

	(void)state;
	check_all(bad, COUNT(bad));
	assert_null(complaints(REQUIRED "# 4294967297\n// 4294967297\nroute = { topic = "
					"\"t\\\"4294967297\"; };",
			       NULL));
	write_file("more.conf", "\noutbox = { claim_rows = 4294967297; };");
	said = complaints(REQUIRED "\n@include \"more.conf\"", NULL);
	assert_string_equal(
	    said,
	    "./more.conf:2: 4294967297 is too large for a whole number; the largest is 2147483647");
	free(said);
	unlink("more.conf");
}

static void test_out_of_range(void **state)
{
	static const struct bad bad[] = {
	    {REQUIRED "outbox = { poll_interval = \"9ms\"; };",
	     "t.conf:1: outbox.poll_interval is \"9ms\", too small; allowed are \"10ms\" to "
	     "\"1h\""},
	    {REQUIRED "outbox = { sweep_interval = \"61m\"; };",
	     "t.conf:1: outbox.sweep_interval is \"61m\", too large; allowed are \"100ms\" to "
	     "\"1h\""},
	    {REQUIRED "outbox = { stall_timeout = \"0\"; };",
	     "t.conf:1: outbox.stall_timeout is \"0\", too small; allowed are \"1s\" to \"1h\""},
	    {REQUIRED "outbox = { partitions_ahead = 0; };",
	     "t.conf:1: outbox.partitions_ahead is 0, too small; allowed are 1 to 100"},
	    {REQUIRED "outbox = { retention = \"4000d\"; };",
	     "t.conf:1: outbox.retention is \"4000d\", too large; allowed are \"1s\" to \"3650d\""},
	    {REQUIRED "outbox = { batch_bytes = \"1KiB\"; };",
	     "t.conf:1: outbox.batch_bytes is \"1KiB\", too small; allowed are \"64KiB\" to "
	     "\"1GiB\""},
	    {REQUIRED "outbox = { claim_rows = 0; };",
	     "t.conf:1: outbox.claim_rows is 0, too small; allowed are 1 to 100000"},
	    {REQUIRED "outbox = { batch_rows = -5; };",
	     "t.conf:1: outbox.batch_rows is -5, too small; allowed are 1 to 1000000"},
	    {REQUIRED "outbox = { batch_rows = 5000000000L; };",
	     "t.conf:1: outbox.batch_rows is 5000000000, too large; allowed are 1 to 1000000"},
	    {REQUIRED "outbox = { shards = 0; };",
	     "t.conf:1: outbox.shards is 0, too small; allowed are 1 to 1024"},
	    {REQUIRED "outbox = {\n claim_rows = 500;\n batch_rows = 100; };",
	     "t.conf:2: outbox.claim_rows is 500, more than outbox.batch_rows, which is 100; a "
	     "claim is part of a batch, so lower the one or raise the other"},
	    {REQUIRED "outbox = {\n batch_rows = 100; };",
	     "t.conf:2: outbox.claim_rows is 2500, more than outbox.batch_rows, which is 100; a "
	     "claim is part of a batch, so lower the one or raise the other"},
	};

	(void)state;
	check_all(bad, COUNT(bad));
}

static void test_bad_values(void **state)
{
	static const struct bad bad[] = {
	    {REQUIRED "outbox = { poll_interval = \"5 s\"; };",
	     "t.conf:1: outbox.poll_interval is \"5 s\", not a duration; write a whole number and "
	     "a "
	     "unit (ms, s, m, h, d), such as \"1s\""},
	    {REQUIRED "outbox = { poll_interval = \"a\\nb\"; };",
	     "t.conf:1: outbox.poll_interval is \"a?b\", not a duration; write a whole number and "
	     "a "
	     "unit (ms, s, m, h, d), such as \"1s\""},
	    {REQUIRED "outbox = { batch_bytes = \"16MB\"; };",
	     "t.conf:1: outbox.batch_bytes is \"16MB\", not a size; write a whole number and a "
	     "unit "
	     "(B, KiB, MiB, GiB), such as \"16MiB\""},
	    {REQUIRED "outbox = { settle = \"deleted\"; };",
	     "t.conf:1: outbox.settle is \"deleted\"; allowed: \"delete\", \"mark\", \"position\""},
	    {REQUIRED "outbox = { on_reject = \"drop\"; };",
	     "t.conf:1: outbox.on_reject is \"drop\"; allowed: \"park\", "
	     "\"dead-letter\", \"halt\""},
	    {REQUIRED "log = { level = \"warn\"; };",
	     "t.conf:1: log.level is \"warn\"; allowed: \"error\", \"warning\", \"info\", "
	     "\"debug\""},
	    {REQUIRED "log = { format = \"${env:TEST_CONFIG}\"; };",
	     "t.conf:1: log.format is \"${env:TEST_CONFIG}\"; allowed: \"text\", \"json\""},
	    {KAFKA "database = { dsn = \"\"; };",
	     "t.conf:1: database.dsn is empty; a value is needed, such as \"host=127.0.0.1 "
	     "dbname=shop user=outbox_relay\""},
	    {REQUIRED "outbox = { columns = { id = \"\"; }; };",
	     "t.conf:1: outbox.columns.id is empty; a value is needed, such as \"id\""},
	    {REQUIRED "outbox = { columns = { id = "
		      "\"a123456789012345678901234567890123456789012345678901234567890123\"; }; };",
	     "t.conf:1: outbox.columns.id has 64 bytes; at most 63 are allowed"},
	    {REQUIRED "outbox = { table = \"a.b.c\"; };",
	     "t.conf:1: outbox.table: table name \"a.b.c\" has something after the table; write "
	     "table or schema.table"},
	    {REQUIRED "outbox = { table = \"my table\"; };",
	     "t.conf:1: outbox.table: table name \"my table\" has something after the table; write "
	     "table or schema.table"},
	    {REQUIRED "outbox = { table = \"\\\"open\"; };",
	     "t.conf:1: outbox.table: table name \"\"open\" does not parse; write table or "
	     "schema.table, and put parts with special characters in double quotes"},
	    {REQUIRED "route = { key = \"\"; };",
	     "t.conf:1: route.key is empty; a value is needed, such as \"${aggregate_id}\""},
	    {REQUIRED "route = { headers = ( \"a=b\", \"=b\", \"c\" ); };",
	     "t.conf:1: route.headers, item 2: \"=b\" is not name=template, such as "
	     "\"id=${event_id}\"\n"
	     "t.conf:1: route.headers, item 3: \"c\" is not name=template, such as "
	     "\"id=${event_id}\""},
	    {REQUIRED "http = { listen = \"9464\"; };",
	     "t.conf:1: http.listen: \"9464\" is no address; write \"host:port\", \"[v6]:port\", "
	     "\"unix:/path\", or \"\" to listen nowhere"},
	    {REQUIRED "http = { listen = \"::1:9464\"; };",
	     "t.conf:1: http.listen: \"::1:9464\" is no address; write \"host:port\", "
	     "\"[v6]:port\", \"unix:/path\", or \"\" to listen nowhere"},
	    {REQUIRED "http = { listen = \"a:65536\"; };",
	     "t.conf:1: http.listen: \"a:65536\" is no address; write \"host:port\", "
	     "\"[v6]:port\", \"unix:/path\", or \"\" to listen nowhere"},
	    {REQUIRED "http = { listen = \"unix:here\"; };",
	     "t.conf:1: http.listen: \"unix:here\" needs an absolute path of at most 107 bytes "
	     "after unix:"},
	};

	(void)state;
	check_all(bad, COUNT(bad));
}

static void test_missing(void **state)
{
	static const struct bad bad[] = {
	    {"", "t.conf: database.dsn is missing; it is required, such as dsn = \"host=127.0.0.1 "
		 "dbname=shop user=outbox_relay\"\n"
		 "t.conf: kafka.bootstrap_servers is missing; it is required, such as "
		 "bootstrap_servers = \"127.0.0.1:9092\""},
	    {DATABASE "\nkafka = { embedded = false; };",
	     "t.conf:2: kafka.bootstrap_servers is missing; it is required, such as "
	     "bootstrap_servers = \"127.0.0.1:9092\""},
	    {"outbox = { columns = { }; };\ndatabase = { };\nlog = { levl = \"info\"; };" KAFKA,
	     "t.conf:2: database.dsn is missing; it is required, such as dsn = \"host=127.0.0.1 "
	     "dbname=shop user=outbox_relay\"\n"
	     "t.conf:3: unknown option log.levl; did you mean log.level?"},
	};
	struct config *config = load("t.conf", DATABASE "kafka = { embedded = true; };");

	(void)state;
	assert_string_equal(config->kafka.bootstrap_servers, "");
	config_free(&config);
	check_all(bad, COUNT(bad));
}

static void test_syntax(void **state)
{
	static const struct bad bad[] = {
	    {REQUIRED "\noutbox = { table = ; };",
	     "t.conf:2: syntax error; look for a missing quote, bracket or = on this line and "
	     "before it"},
	    {REQUIRED "\n\nlog = { level = \"info\";\n level = \"debug\"; };",
	     "t.conf:4: duplicate setting name; give each option once"},
	};

	(void)state;
	check_all(bad, COUNT(bad));
}

static void test_all_problems_are_told_in_the_order_of_the_file(void **state)
{
	static const struct bad bad[] = {
	    {"log = { level = \"loud\"; };\n"
	     "outbox = {\n batch_rows = 10;\n shards = 2000;\n claim_rows = 20;\n colour = 1; };\n"
	     "kafka = { bootstrap_servers = 5; };\n",
	     "t.conf:1: log.level is \"loud\"; allowed: \"error\", \"warning\", \"info\", "
	     "\"debug\"\n"
	     "t.conf:4: outbox.shards is 2000, too large; allowed are 1 to 1024\n"
	     "t.conf:5: outbox.claim_rows is 20, more than outbox.batch_rows, which is 10; a claim "
	     "is part of a batch, so lower the one or raise the other\n"
	     "t.conf:6: unknown option outbox.colour; allowed in outbox: table, columns, ordering, "
	     "settle, published_value, pending_value, where, retention, partitions_ahead, shards, "
	     "claim_rows, batch_rows, batch_bytes, "
	     "poll_interval, sweep_interval, stall_timeout, session_timeout, on_reject, "
	     "publish_after, publish_standbys\n"
	     "t.conf:7: kafka.bootstrap_servers is a whole number; a string is needed, such as "
	     "\"127.0.0.1:9092\"\n"
	     "t.conf: database.dsn is missing; it is required, such as dsn = \"host=127.0.0.1 "
	     "dbname=shop user=outbox_relay\""},
	};

	(void)state;
	check_all(bad, COUNT(bad));
}

static void expect_unreadable(const char *path, const char *says)
{
	struct config_problems problems = {NULL, 0};

	assert_null(config_load(path, NULL, &problems));
	assert_int_equal(problems.count, 1);
	assert_string_equal(problems.items[0].text, says);
	config_problems_free(&problems);
}

static void test_unreadable_files(void **state)
{
	FILE *file;

	(void)state;
	expect_unreadable("absent.conf", "cannot read absent.conf: No such file or directory; name "
					 "the configuration with -c FILE");
	assert_int_equal(mkdir("dir", 0700), 0);
	expect_unreadable("dir",
			  "cannot read dir: Is a directory; name the configuration with -c FILE");
	file = fopen("nul", "w");
	assert_non_null(file);
	assert_int_equal(fwrite("a = 1;\0b", 1, 8, file), 8);
	fclose(file);
	expect_unreadable("nul", "cannot read nul: it holds a NUL byte, so it is no text; name the "
				 "configuration with -c FILE");
	file = fopen("big", "w");
	assert_non_null(file);
	assert_int_equal(ftruncate(fileno(file), (1 << 20) + 1), 0);
	fclose(file);
	expect_unreadable(
	    "big", "cannot read big: it is larger than 1 MiB; name the configuration with -c FILE");
}

static void test_includes(void **state)
{
	static const struct bad bad[] = {
	    {REQUIRED "\n@include \"inc.conf\"\n",
	     "./inc.conf:2: unknown option log.colour; allowed in log: level, format"},
	    {REQUIRED "\n@include \"absent.conf\"\n",
	     "t.conf:2: cannot open include file; names start at the directory of the "
	     "configuration"},
	    {REQUIRED "\n@include \"dir\"\n", "t.conf:2: cannot include \"dir\": it is not a file; "
					      "give each file an @include of its "
					      "own"},
	    {REQUIRED "\n@include \"inc2.conf\"\n", "./inc2.conf:3: cannot include \"dir\": it is "
						    "not a file; give each file an @include of "
						    "its own"},
	    {REQUIRED "\n@include \"/etc/passwd\"\n",
	     "t.conf:2: cannot include \"/etc/passwd\": names start at the directory of t.conf"},
	    {REQUIRED "\n@include \"self.conf\"\n",
	     "./self.conf:2: cannot include \"self.conf\": more than 100 files are included"},
	};
	struct config *config;

	(void)state;
	assert_int_equal(mkdir("dir", 0700), 0);
	write_file("inc.conf", "log = {\n colour = 1; };\n");
	write_file("inc2.conf", "\n\n  @include\t\"dir\"\n");
	write_file("self.conf", "@include \"absent\"\n@include \"self.conf\"\n");
	check_all(bad, COUNT(bad));
	write_file("inc.conf", "level = \"error\";\n");
	config = load("t.conf", REQUIRED "log = {\n@include \"inc.conf\"\n };");
	assert_int_equal(config->log.level, LOG_ERROR);
	config_free(&config);
}

static void test_values_from_nowhere(void **state)
{
	static const struct bad bad[] = {
	    {KAFKA "database = { dsn = \"x ${env:TEST_CONFIG_UNSET}\"; };",
	     "t.conf:1: database.dsn: the environment variable TEST_CONFIG_UNSET is not set"},
	    {KAFKA "database = { dsn = \"x ${env:TEST\"; };",
	     "t.conf:1: database.dsn: ${env: has no closing }"},
	    {KAFKA "database = { dsn = \"x ${file:}\"; };",
	     "t.conf:1: database.dsn: ${file:} names nothing"},
	    {KAFKA "database = { dsn = \"x ${file:/nowhere/pw}\"; };",
	     "t.conf:1: database.dsn: cannot read secret file /nowhere/pw: No such file or "
	     "directory"},
	    {KAFKA "database = { dsn = \"x ${file:dir}\"; };",
	     "t.conf:1: database.dsn: cannot read secret file ./dir: Is a directory"},
	    {DATABASE "kafka = { bootstrap_servers = \"b:1\"; properties = (\n"
		      "\"sasl.password=${file:pw}\" ); };",
	     "t.conf:2: kafka.properties: cannot read secret file ./pw: No such file or directory"},
	};

	(void)state;
	assert_int_equal(mkdir("dir", 0700), 0);
	check_all(bad, COUNT(bad));
}

static void test_denied_properties(void **state)
{
	static const char *const denied[] = {
	    "acks",
	    "request.required.acks",
	    "topic.acks",
	    "enable.idempotence",
	    "max.in.flight",
	    "max.in.flight.requests.per.connection",
	    "retries",
	    "message.send.max.retries",
	    "queuing.strategy",
	    "partitioner",
	    "partitioner_cb",
	    "topic.partitioner",
	    "transactional.id",
	    "transaction.timeout.ms",
	    "message.timeout.ms",
	    "topic.message.timeout.ms",
	    "delivery.timeout.ms",
	    "enable.gapless.guarantee",
	    "plugin.library.paths",
	    "ssl.engine.location",
	    "ssl.providers",
	    "sasl.kerberos.kinit.cmd",
	    "dr_cb",
	    "dr_msg_cb",
	    "error_cb",
	    "oauthbearer_token_refresh_cb",
	    "bootstrap.servers",
	    "metadata.broker.list",
	    "test.mock.num.brokers",
	    "log.queue",
	    "statistics.interval.ms",
	    "queue.buffering.max.messages",
	    "queue.buffering.max.kbytes",
	    "delivery.report.only.error",
	};
	static const char *const free_ones[] = {
	    "compression.codec",
	    "security.protocol",
	    "sasl.password",
	    "client.id",
	    "linger.ms",
	    "queue.buffering.max.ms",
	    "message.max.bytes",
	    "group.id",
	    "retry.backoff.ms",
	    "topic.metadata.refresh.interval.ms",
	    "ack",
	    "",
	    "topic.",
	    "ssl.ca.location",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(denied); i++) {
		if (config_property_denied(denied[i]) == NULL)
			fail_msg("%s is not refused", denied[i]);
	}
	for (size_t i = 0; i < COUNT(free_ones); i++) {
		if (config_property_denied(free_ones[i]) != NULL)
			fail_msg("%s is refused", free_ones[i]);
	}
}

static void test_bad_properties(void **state)
{
#define PROPERTY(text)                                                                             \
	DATABASE "kafka = { bootstrap_servers = \"b:1\";\nproperties = ( \"debug=msg\", \"" text   \
		 "\" ); };"
	static const struct bad bad[] = {
	    {PROPERTY("acks=1"), "t.conf:2: kafka.properties, item 2: acks is refused: an event "
				 "counts as published only when all in-sync replicas have it; "
				 "remove it"},
	    {PROPERTY("queue.buffering.max.messages=50"),
	     "t.conf:2: kafka.properties, item 2: queue.buffering.max.messages is refused: the "
	     "relay "
	     "keeps its queue short by itself; remove it"},
	    {PROPERTY("s3cret"),
	     "t.conf:2: kafka.properties, item 2: not name=value; write such as "
	     "\"compression.codec=lz4\""},
	    {PROPERTY("=s3cret"), "t.conf:2: kafka.properties, item 2: not name=value; write such "
				  "as \"compression.codec=lz4\""},
	    {PROPERTY(" acks=1"),
	     "t.conf:2: kafka.properties, item 2: the name before \"=\" is no librdkafka property; "
	     "names have lower-case letters, digits, dots and no blanks"},
	    {PROPERTY("ACKS=1"),
	     "t.conf:2: kafka.properties, item 2: the name before \"=\" is no librdkafka property; "
	     "names have lower-case letters, digits, dots and no blanks"},
	    {PROPERTY(""),
	     "t.conf:2: kafka.properties, item 2 is empty; a value is needed, such as "
	     "\"compression.codec=lz4\""},
	};

	(void)state;
	check_all(bad, COUNT(bad));
}

/* Refuses what has "bad" in it, and names everything it is asked about. */
static bool picky(const struct config *config, const char *option, const char *text,
		  struct error *err)
{
	assert_non_null(config->outbox.columns.id);
	assert_non_null(config->outbox.columns.created_at);
	assert_non_null(config->route.key);
	return strstr(text, "bad") == NULL || error_set(err, "%s: \"%s\" is bad", option, text);
}

static void test_what_others_judge(void **state)
{
	char *said;

	(void)state;
	assert_null(complaints(REQUIRED "route = { topic = \"t\"; };", picky));
	said = complaints(REQUIRED "route = {\n topic = \"bad1\";\n headers = (\n \"a=b\",\n"
				   " \"a=${env:TEST_CONFIG}bad2\",\n \"bad3\" ); };\n"
				   "outbox = { settle = \"bad4\";\n shards = 2000;\n"
				   " columns = { id = \"bad5\"; created_at = 5; }; };",
			  picky);
	assert_string_equal(
	    said,
	    "t.conf:2: route.topic: \"bad1\" is bad\n"
	    "t.conf:5: route.headers: \"a=from-envbad2\" is bad\n"
	    "t.conf:6: route.headers, item 3: \"bad3\" is not name=template, such as "
	    "\"id=${event_id}\"\n"
	    "t.conf:7: outbox.settle is \"bad4\"; allowed: \"delete\", \"mark\", \"position\"\n"
	    "t.conf:8: outbox.shards is 2000, too large; allowed are 1 to 1024\n"
	    "t.conf:9: outbox.columns.id: \"bad5\" is bad\n"
	    "t.conf:9: outbox.columns.created_at is a whole number; a string is needed, such as "
	    "\"created_at\"");
	free(said);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    IN_DIRECTORY(test_unknown),
	    IN_DIRECTORY(test_wrong_type),
	    IN_DIRECTORY(test_cut_numbers),
	    IN_DIRECTORY(test_out_of_range),
	    IN_DIRECTORY(test_bad_values),
	    IN_DIRECTORY(test_missing),
	    IN_DIRECTORY(test_syntax),
	    IN_DIRECTORY(test_all_problems_are_told_in_the_order_of_the_file),
	    IN_DIRECTORY(test_unreadable_files),
	    IN_DIRECTORY(test_includes),
	    IN_DIRECTORY(test_values_from_nowhere),
	    cmocka_unit_test(test_denied_properties),
	    IN_DIRECTORY(test_bad_properties),
	    IN_DIRECTORY(test_what_others_judge),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
