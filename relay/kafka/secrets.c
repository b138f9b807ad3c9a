/* SPDX-License-Identifier: ISC */
/*
 * secrets.c - what clients show to get in: a password from a file, tokens by a command
 *
 * librdkafka connects by itself, so what it is to show is set anew whenever it changes: a password
 * when the file does, a token when librdkafka asks for one, before the last one expires.
 */
#include "base/clock.h"
#include "base/secret.h"
#include "base/xalloc.h"
#include "internal.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
	READ_US = 1000 * 1000,	     /* how often the file is looked at */
	QUIET_US = 60 * 1000 * 1000, /* between two lines about the same */
};

#define FILE_OPTION    "kafka.sasl_password_file"
#define COMMAND_OPTION "kafka.oauthbearer_token_command"

static bool is_set(const char *option)
{
	return option != NULL && option[0] != '\0';
}

/* ---- whether the options go together ---- */

/* Of the last property of this name: "PLAIN"; NULL if there is none. */
static const char *property(const struct config_strings *properties, const char *name)
{
	size_t len = strlen(name);

	for (size_t i = properties != NULL ? properties->count : 0; i-- > 0;)
		if (strncmp(properties->items[i], name, len) == 0 &&
		    properties->items[i][len] == '=')
			return properties->items[i] + len + 1;
	return NULL;
}

static const char *mechanism(const struct config_strings *properties)
{
	const char *name = property(properties, "sasl.mechanism");

	if (name == NULL)
		name = property(properties, "sasl.mechanisms");
	return name != NULL ? name : "";
}

/* Else the secret would never be used: without it there is no login at all. */
static bool check_protocol(const char *option, const struct config_strings *properties,
			   struct error *err)
{
	const char *protocol = property(properties, "security.protocol");

	return (protocol != NULL && strncasecmp(protocol, "SASL_", 5) == 0) ||
	       error_set(err, "%s needs security.protocol=SASL_SSL in kafka.properties", option);
}

static bool check_file(const struct config_strings *properties, struct error *err)
{
	const char *name = mechanism(properties);

	if (property(properties, "sasl.password") != NULL)
		return error_set(err, FILE_OPTION " and sasl.password of kafka.properties are both "
						  "set; remove one");
	if (strcmp(name, "PLAIN") != 0 && strncmp(name, "SCRAM-", 6) != 0)
		return error_set(err, FILE_OPTION " needs sasl.mechanism=PLAIN, SCRAM-SHA-256 or "
						  "SCRAM-SHA-512 in kafka.properties");
	if (property(properties, "sasl.username") == NULL)
		return error_set(err, FILE_OPTION " needs sasl.username=NAME in kafka.properties");
	return check_protocol(FILE_OPTION, properties, err);
}

static bool check_command(const struct config_strings *properties, struct error *err)
{
	const char *method = property(properties, "sasl.oauthbearer.method"),
		   *unsecured = property(properties, "enable.sasl.oauthbearer.unsecure.jwt");

	if (strcmp(mechanism(properties), "OAUTHBEARER") != 0)
		return error_set(err, COMMAND_OPTION
				 " needs sasl.mechanism=OAUTHBEARER in kafka.properties");
	if (method != NULL && strcmp(method, "oidc") == 0)
		return error_set(err, COMMAND_OPTION " and sasl.oauthbearer.method=oidc of "
						     "kafka.properties are both set; remove one");
	if (unsecured != NULL && strcmp(unsecured, "true") == 0)
		return error_set(err,
				 COMMAND_OPTION " and enable.sasl.oauthbearer.unsecure.jwt=true of "
						"kafka.properties are both set; remove one");
	return check_protocol(COMMAND_OPTION, properties, err);
}

bool kafka_check_secrets(const struct kafka_options *options, struct error *err)
{
	return (!is_set(options->sasl_password_file) || check_file(options->properties, err)) &&
	       (!is_set(options->oauthbearer_token_command) ||
		check_command(options->properties, err));
}

/* ---- of a new client ---- */

bool kafka_secrets_conf(const struct kafka_options *options, rd_kafka_conf_t *conf,
			const char *password, struct error *err)
{
	char *text, words[512];
	bool ok;

	if (!is_set(options->sasl_password_file))
		return true;
	text = secret_read(FILE_OPTION, options->sasl_password_file, err);
	if (text == NULL && password != NULL)
		text = xstrdup(password);
	if (text == NULL)
		return false;
	ok = rd_kafka_conf_set(conf, "sasl.password", text, words, sizeof(words)) ==
	     RD_KAFKA_CONF_OK;
	secret_wipe(&text);
	return ok || error_set(err, FILE_OPTION ": librdkafka refuses the password");
}

bool kafka_wants_token_events(const struct kafka_options *options)
{
	return is_set(options->oauthbearer_token_command);
}

/* ---- passwords ---- */

/* As it is: rd_kafka_conf_set takes blanks off its beginning (rd_kafka_anyconf_set_prop). */
static void give_password(rd_kafka_t *rk, const char *text)
{
	char user[512];
	size_t size = sizeof(user);
	rd_kafka_error_t *refused =
	    rd_kafka_conf_get(rd_kafka_conf(rk), "sasl.username", user, &size) == RD_KAFKA_CONF_OK
		? rd_kafka_sasl_set_credentials(rk, user, text)
		: NULL;

	if (refused == NULL)
		return;
	log_fact(LOG_ERROR, "kafka_password_refused", NULL,
		 FILE_OPTION ": librdkafka refuses the password: %s",
		 rd_kafka_error_string(refused));
	rd_kafka_error_destroy(refused);
}

void kafka_password_awaited(rd_kafka_t *rk, const struct kafka_options *options)
{
	struct error err;
	char *text = is_set(options->sasl_password_file)
			 ? secret_read(FILE_OPTION, options->sasl_password_file, &err)
			 : NULL;

	if (text != NULL)
		give_password(rk, text);
	secret_wipe(&text);
}

static void set_password(struct kafka *kafka, char *text)
{
	if (kafka->secrets.password != NULL)
		log_fact(LOG_INFO, "kafka_password_changed", NULL,
			 FILE_OPTION ": the password has changed; it is used from the next "
				     "connection on");
	give_password(kafka->producer.rk, text);
	secret_wipe(&kafka->secrets.password);
	kafka->secrets.password = text;
}

void kafka_secrets_tick(struct kafka *kafka, int64_t now_us)
{
	struct kafka_secrets *secrets = &kafka->secrets;
	struct error err;
	char *text;

	if (!is_set(kafka->options.sasl_password_file) || now_us - secrets->read_us < READ_US)
		return;
	secrets->read_us = now_us;
	text = secret_read(FILE_OPTION, kafka->options.sasl_password_file, &err);
	if (text == NULL) {
		if (log_limit_due(&secrets->unreadable, now_us, QUIET_US))
			log_fact(LOG_WARNING, "kafka_password_unreadable", NULL,
				 "%s; until then the last one is used%s", err.text,
				 secrets->unreadable.note);
	} else if (secrets->password == NULL || strcmp(secrets->password, text) != 0) {
		set_password(kafka, text);
	} else {
		secret_wipe(&text);
	}
}

/* ---- tokens ---- */

static int64_t now_ms(void)
{
	return clock_realtime_us() / 1000;
}

static bool give_token(rd_kafka_t *rk, const struct kafka_token *token, struct error *err)
{
	char words[300];

	return rd_kafka_oauthbearer_set_token(rk, token->value, token->expires_ms, token->principal,
					      (const char **)(uintptr_t)token->extensions,
					      token->extension_count, words,
					      sizeof(words)) == RD_KAFKA_RESP_ERR_NO_ERROR ||
	       error_set(err, COMMAND_OPTION ": librdkafka refuses the token: %s", words);
}

/* The token that librdkafka has taken, for kafka_token_clear; or false and err. librdkafka asks
 * again after 10 s then, and uses the old token until then, if there is one
 * (rd_kafka_oauthbearer_set_token_failure0). */
static bool answer_token(rd_kafka_t *rk, const char *text, const struct error *why,
			 struct kafka_token *token, struct error *err)
{
	struct error wrong;

	*token = (struct kafka_token){.value = NULL};
	if (text == NULL)
		*err = *why;
	else if (!kafka_token_parse(text, now_ms(), token, &wrong))
		error_set(err, COMMAND_OPTION ": %s", wrong.text);
	else if (give_token(rk, token, err))
		return true;
	kafka_token_clear(token);
	rd_kafka_oauthbearer_set_token_failure(rk, err->text);
	return false;
}

static void keep_token(struct kafka_secrets *secrets, struct kafka_token token)
{
	int64_t now = now_ms();

	kafka_token_clear(&secrets->token);
	secrets->token = token;
	secrets->renew_ms = now + (token.expires_ms - now) / 5 * 4; /* as librdkafka does */
}

static struct secret_source token_source(const struct kafka_options *options)
{
	return (struct secret_source){.file_option = "",
				      .file = "",
				      .command_option = COMMAND_OPTION,
				      .command = options->oauthbearer_token_command};
}

/* The first failure is told by librdkafka's error, which comes when the words change; so that a
 * command that keeps failing is not silent, its later ones are told here. */
static void on_token(void *arg, const char *text, bool permanent, const struct error *why)
{
	struct kafka *kafka = arg;
	struct kafka_secrets *secrets = &kafka->secrets;
	struct kafka_token token;
	struct error err;

	secrets->asked = NULL;
	if (kafka->producer.rk == NULL)
		return;
	if (permanent && text == NULL && !kafka->connection.ever_reachable) {
		if (!kafka->connection.ended)
			kafka->sink.events->refused(kafka->sink.owner, why->text);
		kafka->connection.ended = true;
	} else if (!answer_token(kafka->producer.rk, text, why, &token, &err)) {
		if (log_limit_due(&secrets->no_token, clock_monotonic_us(), QUIET_US))
			log_fact(LOG_WARNING, "kafka_token_missing", NULL,
				 "no token for Kafka: %s; the relay tries again every 10 s%s",
				 err.text, secrets->no_token.note);
	} else {
		keep_token(secrets, token);
		if (secrets->no_token.written_us != 0)
			log_fact(LOG_INFO, "kafka_token_back", NULL,
				 "there is a token for Kafka again");
		secrets->no_token = (struct log_limit){0};
	}
}

/* A new producer asks for a token at once. The last one serves it, too, while it is valid: its
 * issuer may be away, and producers may follow each other quickly. */
static void give_last_token(struct kafka *kafka)
{
	struct kafka_secrets *secrets = &kafka->secrets;
	struct error err;

	secrets->token_given =
	    secrets->token.value != NULL && secrets->token.expires_ms > now_ms() &&
	    give_token(kafka->producer.rk, &secrets->token, &err) && now_ms() < secrets->renew_ms;
}

void kafka_secrets_begin(struct kafka *kafka)
{
	kafka->secrets.read_us = 0;
	kafka_secrets_tick(kafka, clock_monotonic_us());
	if (kafka->secrets.password != NULL)
		give_password(kafka->producer.rk, kafka->secrets.password);
	give_last_token(kafka);
}

void kafka_token_wanted(struct kafka *kafka)
{
	struct secret_source source = token_source(&kafka->options);

	if (kafka->secrets.token_given || kafka->secrets.asked != NULL) {
		kafka->secrets.token_given = false;
		return;
	}
	if (secret_is_configured(&source))
		kafka->secrets.asked = secret_ask(kafka->loop, &source, on_token, kafka);
	else
		rd_kafka_oauthbearer_set_token_failure(kafka->producer.rk,
						       COMMAND_OPTION " is empty by now");
}

void kafka_token_awaited(rd_kafka_t *rk, const struct kafka_options *options)
{
	struct secret_source source = token_source(options);
	struct kafka_token token;
	struct error why, err;
	char *text = secret_get(&source, &why);

	if (answer_token(rk, text, &why, &token, &err))
		kafka_token_clear(&token);
	secret_wipe(&text);
}

void kafka_secrets_free(struct kafka *kafka)
{
	secret_cancel(&kafka->secrets.asked);
	secret_wipe(&kafka->secrets.password);
	kafka_token_clear(&kafka->secrets.token);
}

/* ---- of another thread's client ---- */

static void copy_token(struct kafka_token *copy, const struct kafka_token *token)
{
	*copy = (struct kafka_token){.value = NULL};
	if (token->value == NULL)
		return;
	copy->value = xstrdup(token->value);
	copy->expires_ms = token->expires_ms;
	copy->principal = xstrdup(token->principal);
	for (size_t i = 0; i < token->extension_count; i++)
		copy->extensions[i] = xstrdup(token->extensions[i]);
	copy->extension_count = token->extension_count;
}

struct kafka_pass *kafka_pass_new(const struct kafka *kafka)
{
	struct kafka_pass *pass = xcalloc(1, sizeof(*pass));

	if (kafka->secrets.password != NULL)
		pass->password = xstrdup(kafka->secrets.password);
	pass->by_command = kafka_wants_token_events(&kafka->options);
	copy_token(&pass->token, &kafka->secrets.token);
	return pass;
}

void kafka_pass_show(const struct kafka_pass *pass, rd_kafka_t *rk)
{
	struct error err;

	if (pass->password != NULL)
		give_password(rk, pass->password);
	if (!pass->by_command)
		return;
	if (pass->token.value == NULL)
		rd_kafka_oauthbearer_set_token_failure(rk, "the relay has no token yet");
	else if (!give_token(rk, &pass->token, &err))
		rd_kafka_oauthbearer_set_token_failure(rk, err.text);
}

void kafka_pass_free(struct kafka_pass **pass)
{
	if (*pass == NULL)
		return;
	secret_wipe(&(*pass)->password);
	kafka_token_clear(&(*pass)->token);
	free(*pass);
	*pass = NULL;
}
