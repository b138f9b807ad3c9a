/* SPDX-License-Identifier: ISC */
/*
 * import_kafka.c - brokers, and how to log in to them: the group "kafka"
 */
#include "base/xalloc.h"
#include "import.h"
#include "import_jaas.h"
#include "kafka.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PASSWORD_FILE "/etc/outbox-relay/kafka-password"

static const struct debezium_option *producer(const struct import *import, const char *name)
{
	return debezium_find(import->from, name);
}

/* ---- properties ---- */

/* Adds "name=value" unless the relay or librdkafka refuses it, which is noted then. */
static void add_property(struct import *import, struct config_strings *properties,
			 const struct debezium_option *option, const char *name, const char *value)
{
	char *property = xasprintf("%s=%s", name, value);
	const char *denied = config_property_denied(name);
	struct error err;

	if (denied == NULL && kafka_check_property(property, &err)) {
		import_add(properties, property);
		return;
	}
	import_note(import->notes, option->written, option->value,
		    "kafka.properties takes no %s like it: %s", name,
		    denied != NULL ? denied : err.text);
	free(property);
}

static void add_text(struct import *import, struct config_strings *properties,
		     const struct debezium_option *option, const char *name)
{
	char *text = import_text(import, option);

	add_property(import, properties, option, name, text);
	free(text);
}

/* Those that their rules carry over: "property NAME". */
static void add_properties(struct import *import, struct config_strings *properties)
{
	for (size_t i = 0; i < import->from->count; i++) {
		const struct debezium_option *option = &import->from->options[i];
		const char *to = option->rule->to;
		char *word;

		if (to == NULL || strncmp(to, "property ", 9) != 0)
			continue;
		word = import_word(import, option);
		if (word != NULL)
			add_property(import, properties, option, to + 9, word);
		free(word);
	}
}

/* What it is where the file does not say: the relay's own default, of which consumers see nothing.
 */
static void add_compression(struct import *import, struct config_strings *properties)
{
	if (producer(import, "producer:compression.type") == NULL)
		import_add(properties, xstrdup("compression.codec=lz4"));
}

/* ---- TLS ---- */

static bool is_type(const struct import *import, const char *option, const char *type)
{
	return strcasecmp(debezium_value(import->from, option), type) == 0;
}

static void add_truststore(struct import *import, struct config_strings *properties)
{
	const struct debezium_option *option = producer(import, "producer:ssl.truststore.location");

	if (option == NULL || *option->value == '\0')
		return;
	if (is_type(import, "producer:ssl.truststore.type", "PEM"))
		add_text(import, properties, option, "ssl.ca.location");
	else
		import_note(import->notes, option->written, option->value,
			    "librdkafka reads PEM, no keystore of Java: export the certificates by "
			    "keytool -exportcert -rfc -alias NAME, and add ssl.ca.location=FILE to "
			    "kafka.properties");
}

static void note_keystore_password(struct import *import)
{
	const struct debezium_option *option = producer(import, "producer:ssl.keystore.password");

	if (option != NULL)
		import_note(import->notes, option->written, option->value,
			    "a secret is not copied; add ssl.keystore.password=${file:PATH} to "
			    "kafka.properties, where PATH holds it");
}

static void add_keystore(struct import *import, struct config_strings *properties)
{
	const struct debezium_option *option = producer(import, "producer:ssl.keystore.location");

	if (option == NULL || *option->value == '\0')
		return;
	if (is_type(import, "producer:ssl.keystore.type", "PEM")) {
		add_text(import, properties, option, "ssl.certificate.location");
		add_text(import, properties, option, "ssl.key.location");
	} else if (is_type(import, "producer:ssl.keystore.type", "PKCS12")) {
		add_text(import, properties, option, "ssl.keystore.location");
		note_keystore_password(import);
	} else {
		import_note(import->notes, option->written, option->value,
			    "librdkafka reads PEM or PKCS12, no keystore of Java: convert it by "
			    "keytool -importkeystore -deststoretype PKCS12, and add "
			    "ssl.keystore.location=FILE to kafka.properties");
	}
}

/* ---- SASL ---- */

struct login {
	const struct debezium_option *option; /* sasl.jaas.config */
	struct jaas jaas;
	const char *mechanism;
};

static bool uses_password(const struct login *login)
{
	return strcmp(login->jaas.module, "PlainLoginModule") == 0 ||
	       strcmp(login->jaas.module, "ScramLoginModule") == 0;
}

static void add_mechanism(struct import *import, struct config_strings *properties)
{
	const struct debezium_option *option = producer(import, "producer:sasl.mechanism");

	if (option != NULL && strcasecmp(option->value, "AWS_MSK_IAM") == 0)
		import_note(
		    import->notes, option->written, option->value,
		    "librdkafka logs in to MSK by OAUTHBEARER: set sasl.mechanism=OAUTHBEARER "
		    "in kafka.properties, and kafka.oauthbearer_token_command (docs/secrets.md)");
	else if (option != NULL)
		add_text(import, properties, option, "sasl.mechanism");
}

/* The part of a login that is not secret; a reference that only Kafka Connect knows is noted with
 * the password. */
static void add_login(struct import *import, struct config_strings *properties,
		      const struct login *login, const char *name, const char *value)
{
	char *reference;

	if (value == NULL)
		return;
	reference = import_reference(value);
	if (reference == NULL && strstr(value, "${") != NULL)
		import_note(import->notes, login->option->written, login->option->value,
			    "its user is known to Kafka Connect only; add %s=NAME to "
			    "kafka.properties",
			    name);
	else
		add_property(import, properties, login->option, name,
			     reference != NULL ? reference : value);
	free(reference);
}

static void add_login_properties(struct import *import, struct config_strings *properties,
				 const struct login *login)
{
	if (uses_password(login)) {
		add_login(import, properties, login, "sasl.username", login->jaas.username);
	} else if (strcmp(login->jaas.module, "Krb5LoginModule") == 0) {
		add_login(import, properties, login, "sasl.kerberos.keytab", login->jaas.keytab);
		add_login(import, properties, login, "sasl.kerberos.principal",
			  login->jaas.principal);
	} else {
		import_note(import->notes, login->option->written, login->option->value,
			    "its login module %s has no like; for OAUTHBEARER and IAM set "
			    "kafka.oauthbearer_token_command (docs/kafka-login.md)",
			    login->jaas.module);
	}
}

/* The file that holds the password; malloc'd. */
static char *password_file(struct import *import, const struct login *login)
{
	char *reference = import_reference(login->jaas.password), *path;

	if (reference != NULL && strncmp(reference, "${file:", 7) == 0) {
		path = xasprintf("%.*s", (int)strlen(reference) - 8, reference + 7);
	} else {
		path = xstrdup(PASSWORD_FILE);
		import_note(import->notes, login->option->written, login->option->value,
			    "its password is not copied; write it into the file " PASSWORD_FILE
			    ", or change kafka.sasl_password_file");
	}
	free(reference);
	return path;
}

static void write_password(struct import *import, const struct login *login)
{
	char *path;

	if (login->option == NULL || login->jaas.module == NULL || !uses_password(login) ||
	    login->jaas.password == NULL)
		return;
	path = password_file(import, login);
	conf_string(&import->conf, "sasl_password_file", path, login->option->written);
	free(path);
}

static void read_login(struct import *import, struct config_strings *properties,
		       struct login *login)
{
	*login = (struct login){.option = producer(import, "producer:sasl.jaas.config")};
	add_mechanism(import, properties);
	if (login->option == NULL)
		return;
	if (jaas_read(login->option->value, &login->jaas)) {
		add_login_properties(import, properties, login);
		return;
	}
	import_note(import->notes, login->option->written, login->option->value,
		    "it is not read; add sasl.username=NAME to kafka.properties, and set "
		    "kafka.sasl_password_file");
	jaas_free(&login->jaas);
}

/* ---- the group ---- */

static void write_brokers(struct import *import)
{
	const struct debezium_option *option = producer(import, "producer:bootstrap.servers");
	char *text;

	if (option == NULL)
		option = debezium_find(import->from, "bootstrap.servers");
	if (import->wishes->bootstrap != NULL) {
		conf_string(&import->conf, "bootstrap_servers", import->wishes->bootstrap,
			    "--bootstrap");
		return;
	}
	if (option == NULL) {
		import_note(import->notes, "bootstrap.servers", NULL,
			    "it is not in the file; give --bootstrap SERVERS, or set "
			    "KAFKA_BOOTSTRAP_SERVERS in the environment of the relay");
		conf_string(&import->conf, "bootstrap_servers", "${env:KAFKA_BOOTSTRAP_SERVERS}",
			    "bootstrap.servers is not in the file");
		return;
	}
	text = import_text(import, option);
	conf_string(&import->conf, "bootstrap_servers", text, option->written);
	free(text);
}

void import_kafka(struct import *import)
{
	struct config_strings properties = {NULL, 0};
	struct login login;

	conf_open(&import->conf, "kafka");
	write_brokers(import);
	import_group(import, "kafka", NULL);
	add_compression(import, &properties);
	add_properties(import, &properties);
	add_truststore(import, &properties);
	add_keystore(import, &properties);
	read_login(import, &properties, &login);
	write_password(import, &login);
	conf_list(&import->conf, "properties", &properties, "of the producer");
	conf_close(&import->conf);
	jaas_free(&login.jaas);
	import_strings_free(&properties);
}
