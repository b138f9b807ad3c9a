/* SPDX-License-Identifier: ISC */
/*
 * test_import.c - what is made of a configuration of Debezium, and what is said to be lost
 */
#include "../fuzz/fuzz_debezium.c" /* NOLINT(bugprone-suspicious-include): its check is replayed */
#include "../fuzz/replay.h"

#include "commands/import_jaas.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define CONNECTOR                                                                                  \
	"{\"connector.class\": \"io.debezium.connector.postgresql.PostgresConnector\", "           \
	"\"transforms\": \"outbox\", "                                                             \
	"\"transforms.outbox.type\": \"io.debezium.transforms.outbox.EventRouter\", "              \
	"\"table.include.list\": \"public.outbox\", "                                              \
	"\"key.converter\": \"org.apache.kafka.connect.storage.StringConverter\", "                \
	"\"value.converter\": \"org.apache.kafka.connect.storage.StringConverter\""
#define SERVER                                                                                     \
	"debezium.source.connector.class=io.debezium.connector.postgresql.PostgresConnector\n"     \
	"debezium.source.table.include.list=public.outbox\n"                                       \
	"debezium.transforms=outbox\n"                                                             \
	"debezium.transforms.outbox.type=io.debezium.transforms.outbox.EventRouter\n"              \
	"debezium.sink.type=kafka\n"

static const struct import_wishes given = {"host=db1 dbname=shop", "kafka:9092", NULL};
static struct import_notes notes;

/* With nothing wished for instead of what the text says, or with the given wishes. */
static void assert_made(const char *text, const struct import_wishes *wishes, const char *expected)
{
	struct error err = {""};
	char *made = import_make(text, wishes, &notes, &err);

	assert_string_equal(err.text, "");
	if (strstr(made, expected) == NULL)
		fail_msg("\"%s\" is not in: %s", expected, made);
	must_parse(made);
	free(made);
}

static void assert_notes(size_t count, const char *expected)
{
	for (size_t i = 0; i < notes.count; i++)
		must_be_clean(notes.lines[i]);
	for (size_t i = 0; i < notes.count && expected != NULL; i++)
		if (strstr(notes.lines[i], expected) != NULL)
			expected = NULL;
	if (notes.count != count || expected != NULL)
		fail_msg("%zu notes, the first: %s; not found: %s", notes.count,
			 notes.count > 0 ? notes.lines[0] : "none",
			 expected != NULL ? expected : "none");
	import_notes_free(&notes);
}

static void assert_refused(const char *text, const char *words)
{
	struct error err = {""};
	char *made = import_make(text, &given, &notes, &err);

	assert_null(made);
	if (strstr(err.text, words) == NULL)
		fail_msg("\"%s\" is not in: %s", words, err.text);
	import_notes_free(&notes);
}

static void test_defaults(void **state)
{
	(void)state;
	assert_made(CONNECTOR "}", &given, "  topic = \"outbox.event.${aggregate_type}\";");
	assert_notes(0, NULL);
	assert_made(CONNECTOR "}", &given, "    event_id = \"id\";");
	assert_made(CONNECTOR "}", &given, "    aggregate_type = \"aggregatetype\";");
	assert_made(CONNECTOR "}", &given, "    aggregate_id = \"aggregateid\";");
	assert_made(CONNECTOR "}", &given, "  headers = \"simple\";");
	assert_made(SERVER, &given,
		    "  key = \"json-schema\";  # the default of debezium.format.key\n"
		    "  value = \"json-schema\";  # the default of "
		    "debezium.format.value\n"
		    "  headers = \"json-schema\";");
	assert_notes(0, NULL);
}

/* Where there is no wish, nor anything in the file, the environment has to say it. */
static void test_no_peers(void **state)
{
	static const struct import_wishes none = {NULL, NULL, NULL};

	(void)state;
	assert_made(CONNECTOR "}", &none, "dsn = \"${env:OUTBOX_RELAY_DSN}\"");
	assert_notes(2, "database.hostname: it is not in the file; give --dsn DSN");
	assert_made(CONNECTOR "}", &none, "bootstrap_servers = \"${env:KAFKA_BOOTSTRAP_SERVERS}\"");
	assert_notes(2, "bootstrap.servers: it is not in the file; give --bootstrap SERVERS");
}

static void test_dsn(void **state)
{
	static const struct import_wishes none = {NULL, "k:1", NULL};

	(void)state;
	assert_made(CONNECTOR ", \"database.hostname\": \"db1\", \"database.dbname\": \"it's\", "
			      "\"database.user\": \"a b\", \"database.port\": 6432, "
			      "\"database.sslmode\": \"VERIFY-FULL\", "
			      "\"database.tcpKeepAlive\": \"true\"}",
		    &none,
		    "dsn = \"host=db1 port=6432 dbname='it\\\\'s' user='a b' sslmode=verify-full "
		    "keepalives=1\";");
	assert_notes(0, NULL);
}

/* No secret is in what is made, nor in the lines. */
static void test_secrets(void **state)
{
	static const char text[] =
	    CONNECTOR ", \"database.hostname\": \"db1\", \"database.password\": \"hunter2\", "
		      "\"database.sslpassword\": \"hunter2\", "
		      "\"producer.override.sasl.jaas.config\": "
		      "\"x.PlainLoginModule required username=u password=\\\"hunter2\\\";\", "
		      "\"producer.override.ssl.key.password\": \"hunter2\", "
		      "\"producer.override.ssl.keystore.key\": \"hunter2\", "
		      "\"some.secret\": \"hunter2\", "
		      "\"my.registry\": \"http://u:hunter2@registry\"}";
	static const struct import_wishes both[] = {
	    {NULL, NULL, NULL}, {"postgresql://u:hunter2@db1/shop", "k:1", NULL}};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct error err;
		char *made = import_make(text, &both[i], &notes, &err);

		assert_non_null(made);
		assert_null(strstr(made, "hunter2"));
		assert_non_null(strstr(made, "password_file = "
					     "\"/etc/outbox-relay/database-password\";"));
		assert_non_null(strstr(made, "sasl_password_file = "
					     "\"/etc/outbox-relay/kafka-password\";"));
		assert_non_null(strstr(made, "\"sasl.username=u\""));
		for (size_t n = 0; n < notes.count; n++)
			assert_null(strstr(notes.lines[n], "hunter2"));
		free(made);
		assert_notes(i == 0 ? 8 : 6, "= (not shown): ");
	}
}

/* References that a configuration may have, and those that only Kafka Connect can resolve. */
static void test_references(void **state)
{
	static const struct import_wishes none = {NULL, "k:1", NULL};

	(void)state;
	assert_made(CONNECTOR ", \"database.hostname\": \"${env:HOST}\", "
			      "\"database.password\": \"${env:DB}\"}",
		    &none, "dsn = \"host=${env:HOST} password='${env:DB}'\";");
	assert_notes(0, NULL);
	assert_made(CONNECTOR ", \"database.hostname\": \"x${directory:/run/a:host}\", "
			      "\"database.password\": \"${directory:/run/a:pw}\"}",
		    &none,
		    "dsn = \"host=x${file:/run/a/host}\";  # database.*\n"
		    "  password_file = \"/run/a/pw\";");
	assert_notes(0, NULL);
	assert_made(CONNECTOR ", \"database.hostname\": \"${file:/opt/a.properties:host}\", "
			      "\"database.password\": \"${file:/opt/a.properties:pw}\"}",
		    &none, "dsn = \"host=${env:DATABASE_HOSTNAME}\";");
	assert_notes(2, "set DATABASE_HOSTNAME in the environment of the relay");
}

/* What Debezium Server's file refers to itself, escapes, or wants from the environment. */
static void test_expressions(void **state)
{
	static const struct import_wishes none = {NULL, NULL, NULL};
	static const char text[] =
	    SERVER "debezium.source.database.hostname=${h}.example\nh=${name:x}1\nname=db\n"
		   "debezium.sink.kafka.producer.bootstrap.servers=${KAFKA:k:9092}\n"
		   "debezium.source.database.user=$$u\\\\${x}\n";

	(void)state;
	assert_made(text, &none, "dsn = \"host=db1.example ");
	assert_notes(1, "the default behind ${KAFKA:...} is not carried over; set KAFKA in the");
	assert_made(text, &none, "bootstrap_servers = \"${env:KAFKA}\";");
	import_notes_free(&notes);
	assert_made(text, &none, "user=$u${x}");
	import_notes_free(&notes);
	assert_made(SERVER "debezium.source.database.hostname=${a}\na=${b}\nb=x${a}\n", &none,
		    "dsn = \"host=${a}");
	assert_notes(2, "it refers to itself, or becomes too long; written as it is");
}

/* An option whose value has to be known, and is a reference, is as if it were not there. */
static void test_references_for_words(void **state)
{
	static const char *const options[][2] = {
	    {"decimal.handling.mode", "  decimal = "},
	    {"errors.tolerance", "on_reject"},
	    {"transforms.outbox.table.expand.json.payload", "expand"},
	    {"producer.override.compression.type", "codec=gzip"},
	    {"producer.override.ssl.truststore.type", "ssl.ca"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		char *text = xasprintf("%s, \"%s\": \"${vault:a:b}\"}", CONNECTOR, options[i][0]);
		char *made = import_make(text, &given, &notes, &(struct error){""});

		assert_non_null(made);
		if (strstr(made, options[i][1]) != NULL)
			fail_msg("%s is in: %s", options[i][1], made);
		assert_null(strstr(made, "vault"));
		free(made);
		free(text);
		assert_notes(1, "= \"${vault:a:b}\": it refers to a value that stands elsewhere");
	}
}

/* Not taken for false, nor for a converter that the relay does not have. */
static void test_references_for_converters(void **state)
{
	(void)state;
	assert_made(CONNECTOR ", \"value.converter\": \"JsonConverter\", "
			      "\"value.converter.schemas.enable\": \"${env:S}\"}",
		    &given, "  value = \"json-schema\";");
	assert_notes(2, "= \"${env:S}\": it refers to a value that stands elsewhere, "
			"where this command does not look; it is left out");
	assert_made(CONNECTOR ", \"key.converter\": \"${file:/a:b}\"}", &given,
		    "  key = \"string\";");
	assert_notes(2, "= \"${file:/a:b}\": it refers to a value that stands elsewhere, "
			"where this command does not look; it is taken for string.");
	assert_made(SERVER "debezium.format.value=${FORMAT}\n", &given,
		    "  value = \"json-schema\";");
	assert_notes(1, "it is left out");
	assert_made(CONNECTOR ", \"database.sslmode\": \"${vault:a:b}\"}", &given, "dbname=shop\"");
	assert_notes(0, NULL);
	assert_made(CONNECTOR ", \"producer.override.sasl.mechanism\": \"${directory:/a:b}\"}",
		    &given, "\"sasl.mechanism=${file:/a/b}\"");
	assert_notes(0, NULL);
}

/* A name may come from elsewhere, as the relay's configuration has it; from where only Kafka
 * Connect can take it, it is told. */
static void test_references_for_names(void **state)
{
	(void)state;
	assert_made(CONNECTOR ", \"transforms.outbox.route.by.field\": \"${env:BY}\", "
			      "\"transforms.outbox.table.field.event.key\": \"${directory:/a:b}\"}",
		    &given,
		    "    aggregate_type = \"${env:BY}\";  # transforms.outbox.route.by.field\n"
		    "    aggregate_id = \"${file:/a/b}\";");
	assert_notes(0, NULL);
	assert_made(CONNECTOR ", \"transforms.outbox.route.by.field\": \"${vault:a:by}\"}", &given,
		    "aggregate_type = \"${env:ROUTE_BY_FIELD}\";");
	assert_notes(1, "set ROUTE_BY_FIELD in the environment of the relay");
	assert_made(CONNECTOR ", \"transforms.outbox.table.field.event.timestamp\": "
			      "\"${file:/a:t}\"}",
		    &given, "  timestamp = \"${env:TABLE_FIELD_EVENT_TIMESTAMP}\";");
	assert_notes(1, "set TABLE_FIELD_EVENT_TIMESTAMP in the environment");
	assert_made(CONNECTOR ", \"table.include.list\": \"${vault:a:t}\"}", &given,
		    "table = \"outbox\";");
	assert_notes(2, "where this command does not look; outbox.table is set to outbox, name");
	assert_made(CONNECTOR ", \"transforms.outbox.table.fields.additional.placement\": "
			      "\"${vault:a:p}\"}",
		    &given, "    \"id=${event_id}\"\n");
	assert_notes(1, "it is left out, as if the file did not have it");
}

/* Kafka Connect reads properties as ISO 8859-1, Debezium Server as UTF-8. */
static void test_encodings(void **state)
{
	static const char connect[] =
	    "connector.class=io.debezium.connector.postgresql.PostgresConnector\n"
	    "transforms=outbox\n"
	    "transforms.outbox.type=io.debezium.transforms.outbox.EventRouter\n"
	    "key.converter=StringConverter\nvalue.converter=StringConverter\n"
	    "table.include.list=public.outbox_gr\xf6\xdf"
	    "e\\u20ac\n";

	(void)state;
	assert_made(connect, &given, "table = \"outbox_gr\u00f6\u00dfe\u20ac\";");
	assert_notes(0, NULL);
	assert_made(SERVER "debezium.transforms.outbox.table.field.event.key=gr\u00f6\u00dfe\n",
		    &given, "aggregate_id = \"gr\u00f6\u00dfe\";");
	assert_notes(0, NULL);
	assert_refused(SERVER "a=gr\xf6\xdf"
			      "e\n",
		       "is no file of properties: line 6 is no UTF-8");
}

static void test_profiles(void **state)
{
	static const struct import_wishes none = {NULL, "k:1", NULL};

	(void)state;
	assert_made(SERVER "%prod.debezium.source.database.hostname=db2\n"
			   "debezium.source.database.hostname=db1\n"
			   "%dev.debezium.source.database.hostname=db3\n",
		    &none, "dsn = \"host=db2\";");
	assert_notes(0, NULL);
}

static void test_topics(void **state)
{
	(void)state;
	assert_made(SERVER "debezium.transforms.outbox.route.topic.replacement="
			   "shop.\\\\${routedByValue}.$1\n",
		    &given, "topic = \"shop.${aggregate_type}.${aggregate_type}\";");
	assert_made(CONNECTOR ", \"transforms.outbox.route.topic.replacement\": \"all\"}", &given,
		    "topic = \"all\";");
	assert_made(CONNECTOR ", \"transforms.outbox.route.by.field\": \"type\", "
			      "\"transforms.outbox.route.topic.regex\": \"(\\\\w+)-(.*)\", "
			      "\"transforms.outbox.route.topic.replacement\": \"a.$2\"}",
		    &given,
		    "  topic = \"${event_type}\";  # route.by.field\n"
		    "  topic_regex = \"(\\\\w+)-(.*)\";  # route.topic.regex\n"
		    "  topic_replacement = \"a.$2\";");
	assert_notes(0, NULL);
}

/* What Kafka Connect takes from its environment, the relay does; and a part that has the name of
 * another one's column is not mistaken for it. */
static void test_topics_of_others(void **state)
{
	(void)state;
	assert_made(CONNECTOR ", \"transforms.outbox.route.topic.replacement\": "
			      "\"${env:PREFIX}.${routedByValue}\"}",
		    &given, "topic_replacement = \"${env:PREFIX}.${routedByValue}\";");
	assert_made(CONNECTOR ", \"transforms.outbox.route.by.field\": \"payload\", "
			      "\"transforms.outbox.table.field.event.payload\": \"event_id\"}",
		    &given, "topic = \"outbox.event.${aggregate_type}\";");
	assert_made(SERVER "quarkus.log.console.json=true\nquarkus.log.console.json.enabled=true\n"
			   "quarkus.log.level=WARN\n",
		    &given,
		    "log = {\n  format = \"json\";  # quarkus.log.console.json\n  level = "
		    "\"warning\";  # quarkus.log.level\n};");
	assert_notes(0, NULL);
}

/* The name of an envelope's schema has what the topic was before its replacement. */
static void test_topic_of_a_schema(void **state)
{
	static const char text[] =
	    SERVER "debezium.source.topic.prefix=shop\n"
		   "debezium.transforms.outbox.table.fields.additional.placement=type:envelope\n";

	(void)state;
	assert_made(text, &given, "topic_regex = \"(?<routedByValue>.*)\";");
	assert_made(text, &given, "schema_namespace = \"shop.public.outbox\";");
	assert_notes(0, NULL);
}

static void test_placements(void **state)
{
	(void)state;
	assert_made(CONNECTOR ", \"transforms.outbox.table.fields.additional.placement\": "
			      "\" type:Header : eventType ,v:header,part:PARTITION:x\"}",
		    &given,
		    "    \"id=${event_id}\",\n    \"eventType=${event_type}\",\n    \"v=${v}\"\n  "
		    ");\n  partition = \"part\";");
	assert_notes(0, NULL);
	assert_made(CONNECTOR ", \"transforms.outbox.table.fields.additional.placement\": "
			      "\"a,b:c,:header,a:header:b:c,a:header:=,payload:header\"}",
		    &given,
		    "headers = (  # id, then table.fields.additional.placement\n"
		    "    \"id=${event_id}\"\n  );");
	assert_notes(6, "= \"b:c\": it is not column:placement");
}

static void test_tables(void **state)
{
	(void)state;
	assert_made(CONNECTOR ", \"table.include.list\": \"a.b, ^shop\\\\.outbox$ ,c.d\"}", &given,
		    "table = \"shop.outbox\";");
	assert_notes(2, "a relay publishes one table: outbox.table is set to shop.outbox");
	assert_made(CONNECTOR ", \"table.include.list\": \"shop.(a|outbox)\"}", &given,
		    "table = \"outbox\";");
	assert_notes(2, "it is a regular expression");
	assert_made(CONNECTOR ", \"table.include.list\": \"public.OutboxEvent\"}", &given,
		    "table = \"\\\"OutboxEvent\\\"\";");
	assert_notes(1, "the last one counts");
}

static void test_converters(void **state)
{
	(void)state;
	assert_made(CONNECTOR
		    ", \"value.converter\": \"io.debezium.converters.BinaryDataConverter\"}",
		    &given, "value = \"bytes\";");
	import_notes_free(&notes);
	assert_made(CONNECTOR ", \"value.converter\": \"io.confluent.connect.avro.AvroConverter\", "
			      "\"value.converter.schema.registry.url\": \"http://r\"}",
		    &given, "value = \"bytes\";");
	assert_notes(3, "CONSUMERS WOULD GET OTHER BYTES");
	assert_made(SERVER "debezium.format.key=simplestring\n"
			   "debezium.format.schemas.enable=false\n"
			   "debezium.format.header=clientprovided\n"
			   "debezium.format.header.class=org.apache.kafka.connect.storage."
			   "SimpleHeaderConverter\n",
		    &given,
		    "  key = \"string\";  # debezium.format.key = simplestring\n"
		    "  value = \"json\";  # the default of debezium.format.value\n"
		    "  headers = \"simple\";");
	assert_notes(0, NULL);
}

static void assert_jaas(const char *text, bool right, const char *module, const char *username,
			const char *password)
{
	struct jaas jaas;

	assert_int_equal(jaas_read(text, &jaas), right);
	if (right) {
		assert_string_equal(jaas.module, module);
		assert_string_equal(jaas.username, username);
		assert_string_equal(jaas.password, password);
	}
	jaas_free(&jaas);
}

static void test_jaas(void **state)
{
	(void)state;
	assert_jaas("org.x.PlainLoginModule required username=\"a b\" password='c\"\\'' x=y ;",
		    true, "PlainLoginModule", "a b", "c\"'");
	assert_jaas("M required\n username=u\n password=\"p\\\\\";", true, "M", "u", "p\\");
	assert_jaas("M required username=u password=p", false, "", "", "");
	assert_jaas("M required username=\"u", false, "", "", "");
	assert_jaas("M", false, "", "", "");
	assert_jaas("", false, "", "", "");
}

static void test_refused_files(void **state)
{
	(void)state;
	assert_refused("", "is no configuration of Debezium");
	assert_refused("hello = world", "is no configuration of Debezium");
	assert_refused("[]", "is JSON, but no object of options");
	assert_refused("{\"a\": ", "is no JSON: line 1: ");
	assert_refused("{\"password\": hunter2}", "is no JSON: line 1: invalid token");
	assert_refused("{}", "holds no options of a connector");
	assert_refused("{\"a\": {\"info\": {\"config\": {}}}, \"b\": {}}", "holds 2 connectors");
	assert_refused("{\"connector.class\": \"io.debezium.connector.mysql.MySqlConnector\"}",
		       "is of the connector io.debezium.connector.mysql.MySqlConnector; the relay "
		       "publishes outboxes in PostgreSQL only");
	assert_refused("{\"connector.class\": \"x.S3Sink\"}", "which is not Debezium's");
	assert_refused("connector.class=io.debezium.connector.postgresql.PostgresConnector\n",
		       "has no outbox event router");
	assert_refused("apiVersion: v1\n", "is a manifest of Kubernetes in YAML");
	assert_refused(SERVER "debezium.sink.type=pulsar\n", "publishes to the sink pulsar");
}

static void test_corpus(void **state)
{
	(void)state;
	assert_true(replay_corpus("debezium") >= 14);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_defaults),
	    cmocka_unit_test(test_no_peers),
	    cmocka_unit_test(test_dsn),
	    cmocka_unit_test(test_secrets),
	    cmocka_unit_test(test_references),
	    cmocka_unit_test(test_expressions),
	    cmocka_unit_test(test_references_for_words),
	    cmocka_unit_test(test_references_for_converters),
	    cmocka_unit_test(test_references_for_names),
	    cmocka_unit_test(test_encodings),
	    cmocka_unit_test(test_profiles),
	    cmocka_unit_test(test_topics),
	    cmocka_unit_test(test_topics_of_others),
	    cmocka_unit_test(test_topic_of_a_schema),
	    cmocka_unit_test(test_placements),
	    cmocka_unit_test(test_tables),
	    cmocka_unit_test(test_converters),
	    cmocka_unit_test(test_jaas),
	    cmocka_unit_test(test_refused_files),
	    cmocka_unit_test(test_corpus),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
