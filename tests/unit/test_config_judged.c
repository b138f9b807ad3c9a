/* SPDX-License-Identifier: ISC */
/*
 * test_config_judged.c - what the parts of the relay say of a configuration as the commands load it
 */
#include "commands/commands.h"
#include "config_files.h"
#include "kafka.h"

#include <string.h>

/* The only problem of a configuration must be this. */
static void refuses(const char *text, const char *says)
{
	struct config_problems problems = {NULL, 0};
	char *expected = NULL;

	write_file("t.conf", text);
	assert_null(command_load("t.conf", &problems));
	assert_int_equal(problems.count, 1);
	assert_true(asprintf(&expected, "t.conf:%s", says) > 0);
	assert_string_equal(problems.items[0].text, expected);
	free(expected);
	config_problems_free(&problems);
}

static struct config *command_load_good(const char *text)
{
	struct config_problems problems = {NULL, 0};
	struct config *config;

	write_file("t.conf", text);
	config = command_load("t.conf", &problems);
	if (config == NULL)
		fail_msg("%s", problems.items[0].text);
	config_problems_free(&problems);
	return config;
}

#define ROUTE(text) REQUIRED "\nroute = { " text " };"

static void test_route(void **state)
{
	(void)state;
	refuses(ROUTE("topic = \"t.${aggregate_type\";"),
		"2: route.topic \"t.${aggregate_type\": a \"${\" has no \"}\"; write ${field}");
	refuses(ROUTE("topic = \"my events\";"),
		"2: route.topic \"my events\" has a character other than a-z, A-Z, 0-9, '.', '_' "
		"and '-'; give a legal topic name");
	refuses(ROUTE("key = \"$aggregate_id\";"),
		"2: route.key \"$aggregate_id\": a \"$\" stands alone; write ${field}, or \"$$\" "
		"for a dollar sign");
	refuses(ROUTE("key = \"${payload}\";"),
		"2: route.key \"${payload}\": there is no field \"payload\"; name a column by its "
		"part or its name, but not payload, headers, or a part that the table has no "
		"column for");
	refuses(ROUTE("headers = ( \"a=${event_id}\",\n\"b=${}\" );"),
		"3: route.headers \"${}\": \"${}\" names no field; write ${field}");
	refuses(ROUTE("headers = ( \"a = ${event_id}\" );"),
		"2: route.headers \"a = ${event_id}\" has a space around its name or \"=\"; write "
		"name=template without");
}

static void test_what_goes_together_in_route(void **state)
{
	struct config *config = command_load_good(
	    ROUTE("topic = \"${aggregate_type} ${tenant}\"; topic_regex = "
		  "\"(?<a>.*) (.*)\"; topic_replacement = \"${a}.$2\"; partition = "
		  "\"part\"; timestamp = \"created_at\";"));

	(void)state;
	config_free(&config);
	refuses(ROUTE("topic_replacement = \"$0\";"),
		"2: route.topic_replacement is what route.topic_regex is replaced by, which is not "
		"set; set it, or remove this");
	refuses(ROUTE("topic_regex = \"(.*)\";"),
		"2: route.topic_regex needs route.topic_replacement, the topic where it matches; "
		"set it, such as \"outbox.event.$1\"");
	refuses(ROUTE("topic_regex = \"(.*\"; topic_replacement = \"$1\";"),
		"2: route.topic_regex \"(.*\" is wrong at byte 3: missing closing parenthesis");
	refuses(ROUTE("topic_regex = \"(.*)\"; topic_replacement = \"$2\";"),
		"2: route.topic_replacement \"$2\" names the group \"2\", which "
		"route.topic_regex does not have");
	refuses(ROUTE("partition = \"payload\";"),
		"2: route.partition \"payload\": there is no such field; name a column by its part "
		"or its name, but not payload, headers, or a part that the table has no column "
		"for");
}

#define ENCODE(text) REQUIRED "\nencode = { " text " };"

static void test_what_goes_together_in_encode(void **state)
{
	struct config *config = command_load_good(
	    ENCODE("key = \"json\"; value = \"json-schema\"; headers = \"simple\"; envelope = ( "
		   "\"eventType=${event_type}\", \"tenant=${tenant}\" ); expand = true; "
		   "null_fields = \"keep\"; schema_namespace = \"a.b\"; schema_version = \"v\"; "
		   "decimal = \"string\"; tombstone_on_empty = true;"));
	static const char *const wrong[][2] = {
	    {"decimal = \"string\";", "encode.decimal is for what is written as a converter"},
	    {"interval = \"string\";", "encode.interval is for what is written as a converter"},
	    {"expand = true;", "encode.expand makes JSON of a payload, which encode.value ="},
	    {"value = \"json\"; null_fields = \"keep\";", "encode.null_fields is about payloads"},
	    {"empty_arrays = \"keep\";", "encode.empty_arrays is about payloads"},
	    {"envelope = ( \"a=b\" );", "encode.envelope is an object around the payload"},
	    {"envelope = ( \"a=b\" ); value = \"json-schema\";",
	     "encode.envelope has a schema with encode.value = \"json-schema\", and no name"},
	    {"schema_namespace = \"a\";", "encode.schema_namespace names the schema of an"},
	    {"schema_version = \"a\"; value = \"json-schema\";", "encode.schema_version is of"},
	    {"value = \"json\"; envelope = ( \"a=b\", \"c=\", \"a=\" );",
	     "encode.envelope has two members \"a\""},
	    {"value = \"json\"; envelope = ( \"payload=b\" );",
	     "encode.envelope has two members \"payload\""},
	    {"value = \"json\"; envelope = ( \"a=${payload}\" );",
	     "encode.envelope \"a=${payload}\": there is no field \"payload\""},
	};
	char text[300];

	(void)state;
	config_free(&config);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct config_problems problems = {NULL, 0};

		snprintf(text, sizeof(text), REQUIRED "\nencode = { %s };", wrong[i][0]);
		write_file("t.conf", text);
		assert_null(command_load("t.conf", &problems));
		assert_int_equal(problems.count, 1);
		if (strncmp(problems.items[0].text + strlen("t.conf:2: "), wrong[i][1],
			    strlen(wrong[i][1])) != 0)
			fail_msg("%s", problems.items[0].text);
		config_problems_free(&problems);
	}
}

static void test_the_topic_of_copies(void **state)
{
	struct config *config = load("t.conf", ROUTE("dead_letter_topic = \"dead.letters\";"));

	(void)state;
	config_free(&config);
	config = load("t.conf", ROUTE("dead_letter_topic = \"\";"));
	config_free(&config);
	refuses(ROUTE("dead_letter_topic = \"dead.${aggregate_type}\";"),
		"2: route.dead_letter_topic \"dead.${aggregate_type}\": copies of all rejected "
		"events go to one topic; give its name, without fields");
	refuses(
	    ROUTE("dead_letter_topic = \"__dead\";"),
	    "2: route.dead_letter_topic \"__dead\" begins with \"__\", as only Kafka's own topics "
	    "do; give a legal topic name, or \"\" for no copies");
	refuses(ROUTE("topic = \"events\";\ndead_letter_topic = \"events\";"),
		"3: route.dead_letter_topic \"events\" is route.topic, where consumers would take "
		"copies for events; give another name");
}

static void test_what_would_reach_a_shell(void **state)
{
	static const char *const names[] = {"keytab", "principal", "service.name"};
	char text[200], says[300];

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		snprintf(text, sizeof(text),
			 "database = { dsn = \"dbname=shop\"; }; kafka = { bootstrap_servers = "
			 "\"h:1\";\n"
			 "properties = ( \"sasl.kerberos.%s=x;reboot\" ); };",
			 names[i]);
		snprintf(says, sizeof(says),
			 "2: kafka.properties: \"sasl.kerberos.%s\" may hold letters, digits and "
			 "._/@:+=,- only: it becomes a part of a shell's command",
			 names[i]);
		refuses(text, says);
	}
}

/* The columns may come behind the templates. */
static void test_a_part_without_a_column(void **state)
{
	struct config *config = load("t.conf", ROUTE("headers = ( \"at=${created_at}\" );"));

	(void)state;
	config_free(&config);
	refuses(ROUTE("headers = ( \"at=${created_at}\" );") "outbox = { columns = { created_at = "
							     "\"\"; }; };",
		"2: route.headers \"${created_at}\": there is no field \"created_at\"; name a "
		"column by its part or its name, but not payload, headers, or a part that the "
		"table has no column for");
}

/* By one header, the group's own line; each field counts once, whatever names it. */
static void test_too_many_fields(void **state)
{
	char *headers = NULL, *text = NULL;
	size_t len;
	FILE *out = open_memstream(&headers, &len);
	struct config *config;

	(void)state;
	for (int i = 3; i <= 32; i++)
		fprintf(out, "\"h%d=${c%d} ${c%d}\"%s", i, i, i, i < 32 ? ", " : "");
	fclose(out);
	assert_true(asprintf(&text, ROUTE("headers = ( %s, \"again=${c3}\" );"), headers) > 0);
	config = load("t.conf", text);
	config_free(&config);
	free(text);
	assert_true(asprintf(&text, ROUTE("headers = (\n%s, \"more=${c33}\" );"), headers) > 0);
	refuses(text, "2: route names 33 different fields, more than 32; name fewer");
	free(text);
	free(headers);
}

#define PROPERTY(text)                                                                             \
	DATABASE "kafka = { bootstrap_servers = \"b:1\"; properties = ( \"linger.ms=5\",\n\"" text \
		 "\" ); };"

static void test_properties(void **state)
{
	char *unknown;

	(void)state;
	assert_true(asprintf(&unknown,
			     "2: kafka.properties: librdkafka %s has no property \"lingr.ms\"; see "
			     "its CONFIGURATION.md",
			     kafka_version()) > 0);
	refuses(PROPERTY("lingr.ms=5"), unknown);
	free(unknown);
	refuses(PROPERTY("compression.codec=best"),
		"2: kafka.properties: \"compression.codec\" is refused by librdkafka: Invalid "
		"value \"***\" for configuration property \"compression.codec\"");
	refuses(
	    PROPERTY("socket.timeout.ms=3"),
	    "2: kafka.properties: \"socket.timeout.ms\" is refused by librdkafka: Configuration "
	    "property \"socket.timeout.ms\" value *** is outside allowed range 10..300000");
}

static void test_no_value_of_a_property_is_told(void **state)
{
	struct config_problems problems = {NULL, 0};

	(void)state;
	write_file("t.conf", PROPERTY("sasl.passwort=hunter2"));
	assert_null(command_load("t.conf", &problems));
	assert_null(strstr(problems.items[0].text, "hunter2"));
	config_problems_free(&problems);
}

/* Which one would be used, nobody could see. */
static void test_two_passwords(void **state)
{
	(void)state;
	refuses(KAFKA "database = { dsn = \"dbname=shop password=x\";\npassword_file = \"p\"; };",
		"2: database.password_file is set, and database.dsn has a password; remove one");
	refuses(KAFKA "database = { dsn = \"postgresql://u:x@h/d\";\npassword_command = \"p\"; };",
		"2: database.password_command is set, and database.dsn has a password; remove one");
	refuses(KAFKA "database = { dsn = \"dbname=d\"; password_file = \"p\";\n"
		      "password_command = \"p\"; };",
		"2: database.password_file and database.password_command are both set; remove one");
}

#define SASL(options, properties)                                                                  \
	DATABASE "kafka = { bootstrap_servers = \"b:1\";\n" options                                \
		 ";\nproperties = ( " properties " ); };"
#define PASSWORD_FILE "sasl_password_file = \"p\""
#define TOKEN_COMMAND "oauthbearer_token_command = \"c\""

static void test_secrets_of_kafka(void **state)
{
	struct config *config;

	(void)state;
	refuses(SASL(PASSWORD_FILE, "\"sasl.mechanism=PLAIN\", \"sasl.username=u\", "
				    "\"sasl.password=hunter2\""),
		"2: kafka.sasl_password_file and sasl.password of kafka.properties are both set; "
		"remove one");
	refuses(SASL(PASSWORD_FILE, "\"sasl.mechanism=PLAIN\""),
		"2: kafka.sasl_password_file needs sasl.username=NAME in kafka.properties");
	refuses(SASL(PASSWORD_FILE, "\"sasl.username=u\""),
		"2: kafka.sasl_password_file needs sasl.mechanism=PLAIN, SCRAM-SHA-256 or "
		"SCRAM-SHA-512 in kafka.properties");
	refuses(SASL(TOKEN_COMMAND, "\"sasl.mechanism=PLAIN\""),
		"2: kafka.oauthbearer_token_command needs sasl.mechanism=OAUTHBEARER in "
		"kafka.properties");
	refuses(SASL(TOKEN_COMMAND, "\"sasl.mechanisms=OAUTHBEARER\", "
				    "\"enable.sasl.oauthbearer.unsecure.jwt=true\""),
		"2: kafka.oauthbearer_token_command and enable.sasl.oauthbearer.unsecure.jwt=true "
		"of kafka.properties are both set; remove one");
	refuses(SASL(PASSWORD_FILE, "\"sasl.mechanism=PLAIN\", \"sasl.username=u\""),
		"2: kafka.sasl_password_file needs security.protocol=SASL_SSL in kafka.properties");
	refuses(SASL(TOKEN_COMMAND, "\"sasl.mechanism=OAUTHBEARER\", \"security.protocol=SSL\""),
		"2: kafka.oauthbearer_token_command needs security.protocol=SASL_SSL in "
		"kafka.properties");
	config = command_load_good(
	    SASL(PASSWORD_FILE, "\"sasl.mechanisms=SCRAM-SHA-512\", "
				"\"sasl.username=u\", \"security.protocol=sasl_plaintext\""));
	assert_string_equal(config->kafka.sasl_password_file, "./p");
	config_free(&config);
	config = command_load_good(
	    SASL(TOKEN_COMMAND, "\"sasl.mechanism=OAUTHBEARER\", \"security.protocol=SASL_SSL\""));
	config_free(&config);
}

static void test_dsn(void **state)
{
	static const char says[] =
	    "1: database.dsn does not parse as a connection string; write key=value pairs of "
	    "options that libpq knows, with single quotes around a value that has blanks, or a "
	    "postgresql:// URI; database.password_file takes a password as it is";

	(void)state;
	refuses(KAFKA "database = { dsn = \"host=db password=two words\"; };", says);
	refuses(KAFKA "database = { dsn = \"postgresql://[::1/shop\"; };", says);
	refuses(KAFKA "database = { dsn = \"hots=db\"; };", says);
	refuses(KAFKA "database = { dsn = \"host=db sslmode=maybe\"; };",
		"1: database.dsn cannot be right: invalid sslmode value: \"maybe\"; correct it");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    IN_DIRECTORY(test_route),
	    IN_DIRECTORY(test_a_part_without_a_column),
	    IN_DIRECTORY(test_too_many_fields),
	    IN_DIRECTORY(test_properties),
	    IN_DIRECTORY(test_what_goes_together_in_route),
	    IN_DIRECTORY(test_what_goes_together_in_encode),
	    IN_DIRECTORY(test_the_topic_of_copies),
	    IN_DIRECTORY(test_what_would_reach_a_shell),
	    IN_DIRECTORY(test_no_value_of_a_property_is_told),
	    IN_DIRECTORY(test_two_passwords),
	    IN_DIRECTORY(test_secrets_of_kafka),
	    IN_DIRECTORY(test_dsn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
