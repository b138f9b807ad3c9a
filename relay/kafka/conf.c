/* SPDX-License-Identifier: ISC */
/*
 * conf.c - makes clients: our tuning, the user's properties, our guarantees; and the embedded
 * broker
 */
#include "base/failpoints.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "internal.h"

#include <ctype.h>
#include <errno.h>
#include <librdkafka/rdkafka_mock.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct setting {
	const char *name, *value;
};

/* The user's properties may change these. */
static const struct setting tuning[] = {
    {"client.id", "outbox-relay"},
    /* A lone event is sent immediately. Under load batches fill up anyway, since records gather
     * while requests wait for their turn: measured, a linger of 5 ms drains no faster. */
    {"linger.ms", "0"},
    {"batch.num.messages", "10000"},
    /* Under the brokers' default limit (1048588), since librdkafka never splits a batch that a
     * broker finds too large. */
    {"batch.size", "921600"},
    /* Never reached: what is in flight is bounded by the batch. */
    {"queue.buffering.max.messages", "1000000"},
    {"queue.buffering.max.kbytes", "2097151"},
    {"socket.nagle.disable", "true"},
    {"socket.keepalive.enable", "true"},
    /* Also how long the requests to a lost leader hold up its partitions. */
    {"socket.timeout.ms", "10000"},
    /* Half of it is the least time between two attempts to reach any broker when none is connected
     * (rd_kafka_conf_finalize: sparse_connect_intvl): at most three a second. The first attempt
     * after a connection that had lasted is immediate. */
    {"reconnect.backoff.ms", "700"},
    {"reconnect.backoff.max.ms", "2000"},
    {"topic.metadata.refresh.interval.ms", "60000"},
    {"log.connection.close", "false"},
};

/* What delivery, order and the event loop rest on; the user's properties cannot undo it. */
static const struct setting guarantees[] = {
    {"enable.idempotence", "true"},
    {"acks", "all"},
    /* A record that fails must not be overtaken by the next of its key. */
    {"enable.gapless.guarantee", "true"},
    /* gapless does not cover expiry. */
    {"message.timeout.ms", "0"},
    /* Where Java's producers put a key, and not librdkafka's default. */
    {"partitioner", "murmur2_random"},
    /* Without a key, too, the first-record gate is to know the partition. */
    {"sticky.partitioning.linger.ms", "0"},
    {"delivery.report.only.error", "false"},
    {"log.queue", "true"},
};

/* Newer libraries only. */
static const struct setting if_known[] = {
    {"enable.metrics.push", "false"},
};

static bool is_within_word(const char *text, const char *at, size_t len)
{
	return (at > text && isalnum((unsigned char)at[-1])) || isalnum((unsigned char)at[len]);
}

/* Replaces what in text with "***", in place as far as it fits: where it stands by itself, since a
 * value of a letter or a digit is in every other word. */
static void redact(char *text, size_t size, const char *what)
{
	size_t len = strlen(what);

	if (len == 0)
		return;
	for (char *at = strstr(text, what); at != NULL; at = strstr(at, what)) {
		size_t rest = strlen(at + len) + 1;

		if (is_within_word(text, at, len)) {
			at++;
			continue;
		}
		if ((size_t)(at - text) + 3 + rest > size) {
			*at = '\0';
			return;
		}
		memmove(at + 3, at + len, rest);
		memcpy(at, "***", 3);
		at += 3;
	}
}

/* librdkafka puts these into the command line of kinit, which it runs in a shell and without
 * quoting them (rd_kafka_sasl_cyrus_kinit_refresh). */
static bool is_safe_in_shell(const char *name, const char *value)
{
	static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				   "0123456789._/@:+=,-";

	return strncmp(name, "sasl.kerberos.", 14) != 0 || value[strspn(value, safe)] == '\0';
}

static void refuse_property(const char *name, const char *words, struct error *err)
{
	if (strstr(words, "depends on libcurl") != NULL)
		error_set(err,
			  "kafka.properties: \"%s\" cannot be used: this librdkafka (%s) is built "
			  "without libcurl, which login by OIDC needs; install one that is built "
			  "with it (Debian 13's is)",
			  name, rd_kafka_version_str());
	else
		error_set(err, "kafka.properties: \"%s\" is refused by librdkafka: %s", name,
			  words);
}

static bool set_property(rd_kafka_conf_t *conf, const char *property, struct error *err)
{
	const char *equals = strchr(property, '=');
	char *name = xstrdup(property);
	char words[512] = "";
	rd_kafka_conf_res_t result = RD_KAFKA_CONF_INVALID;

	if (equals != NULL && equals != property) {
		name[equals - property] = '\0';
		if (!is_safe_in_shell(name, equals + 1)) {
			error_set(err,
				  "kafka.properties: \"%s\" may hold letters, digits and "
				  "._/@:+=,- only: it becomes a part of a shell's command",
				  name);
			free(name);
			return false;
		}
		result = rd_kafka_conf_set(conf, name, equals + 1, words, sizeof(words));
	}
	if (equals == NULL || equals == property)
		error_set(err, "kafka.properties: a property is not of the form name=value");
	else if (result == RD_KAFKA_CONF_UNKNOWN)
		error_set(err,
			  "kafka.properties: librdkafka %s has no property \"%s\"; see its "
			  "CONFIGURATION.md",
			  rd_kafka_version_str(), name);
	else if (result != RD_KAFKA_CONF_OK) {
		words[strcspn(words, "\n")] = '\0';
		redact(words, sizeof(words), equals + 1);
		refuse_property(name, words, err);
	}
	free(name);
	return result == RD_KAFKA_CONF_OK;
}

bool kafka_check_property(const char *property, struct error *err)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	bool ok = set_property(conf, property, err);

	rd_kafka_conf_destroy(conf);
	return ok;
}

void kafka_conf_must_set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char words[512];

	if (rd_kafka_conf_set(conf, name, value, words, sizeof(words)) != RD_KAFKA_CONF_OK) {
		/* Our own table is wrong, or the library is not one we build with. */
		fprintf(stderr, "librdkafka refuses %s: %s\n", name, words);
		abort();
	}
}

bool kafka_conf_compresses(const rd_kafka_conf_t *conf)
{
	char codec[32] = "none";
	size_t size = sizeof(codec);

	rd_kafka_conf_get(conf, "compression.codec", codec, &size);
	return strcmp(codec, "none") != 0;
}

static void must_set_all(rd_kafka_conf_t *conf, const struct setting *settings, size_t count)
{
	for (size_t i = 0; i < count; i++)
		kafka_conf_must_set(conf, settings[i].name, settings[i].value);
}

size_t kafka_conf_get_size(const rd_kafka_conf_t *conf, const char *name)
{
	char text[64] = "";
	size_t size = sizeof(text);

	rd_kafka_conf_get(conf, name, text, &size);
	return (size_t)strtoull(text, NULL, 10);
}

/* Thread: librdkafka's background thread. Only where librdkafka makes no tokens itself. */
static void on_token_wanted(rd_kafka_t *rk, const char *config, void *opaque)
{
	(void)config;
	(void)opaque;
	rd_kafka_oauthbearer_set_token_failure(
	    rk, "no token is given: set sasl.oauthbearer.method=oidc and its client id, secret and "
		"token endpoint in kafka.properties, or enable.sasl.oauthbearer.unsecure.jwt=true "
		"for a test");
}

static bool is_set_to(const rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char text[64];
	size_t size = sizeof(text);

	return rd_kafka_conf_get(conf, name, text, &size) == RD_KAFKA_CONF_OK &&
	       strcmp(text, value) == 0;
}

static bool names_principal(const rd_kafka_conf_t *conf)
{
	char text[256] = "";
	size_t size = sizeof(text);
	const char *at;

	if (rd_kafka_conf_get(conf, "sasl.oauthbearer.config", text, &size) != RD_KAFKA_CONF_OK)
		return false;
	at = strstr(text, "principal=");
	return at != NULL && at[10] != '\0' && at[10] != ' ';
}

/* Where its tokens come from. Without a callback that says so, librdkafka waits for a token
 * indefinitely and in silence. Its own two sources and a callback exclude each other
 * (rd_kafka_conf_finalize). When its unsecured token cannot be made, 2.0.2 crashes at the second
 * try, 10 s later (rd_kafka_sasl_oauthbearer_init sets no callback_q). */
static bool set_token_source(rd_kafka_conf_t *conf, struct error *err)
{
	if (is_set_to(conf, "sasl.oauthbearer.method", "oidc"))
		return true;
	if (!is_set_to(conf, "enable.sasl.oauthbearer.unsecure.jwt", "true")) {
		rd_kafka_conf_set_oauthbearer_token_refresh_cb(conf, on_token_wanted);
		return true;
	}
	return names_principal(conf) ||
	       error_set(err, "kafka.properties: no token is given: "
			      "enable.sasl.oauthbearer.unsecure.jwt=true needs "
			      "sasl.oauthbearer.config with principal=NAME");
}

/* Thread: a broker's. OpenSSL's verdict stands; librdkafka logs the words behind the certificate's
 * subject and issuer, which is the only place where the verdict is told. */
static int on_certificate(rd_kafka_t *rk, const char *broker, int32_t broker_id, int *x509_error,
			  int depth, const char *der, size_t size, char *words, size_t words_size,
			  void *opaque)
{
	const char *known = kafka_certificate_words(*x509_error);

	(void)rk, (void)broker, (void)broker_id, (void)depth, (void)der, (void)size, (void)opaque;
	if (*x509_error == 0)
		return 1;
	if (known != NULL)
		text_print(words, words_size, "%s", known);
	else
		text_print(words, words_size, "OpenSSL's verification says %d", *x509_error);
	return 0;
}

/* Without verification OpenSSL would ask all the same, and librdkafka would log each refusal. */
static void explain_certificates(rd_kafka_conf_t *conf)
{
	if (!is_set_to(conf, "enable.ssl.certificate.verification", "false"))
		rd_kafka_conf_set_ssl_cert_verify_cb(conf, on_certificate);
}

/* An old library's SCRAM is refused by Kafka 4 in the words for a wrong password. Which versions of
 * requests a broker knows tells the two apart, and shows only in the log. */
static void explain_scram(rd_kafka_conf_t *conf)
{
	if (rd_kafka_version() < KAFKA_SCRAM_VERSION && is_set_to(conf, "debug", "") &&
	    (is_set_to(conf, "sasl.mechanisms", "SCRAM-SHA-256") ||
	     is_set_to(conf, "sasl.mechanisms", "SCRAM-SHA-512")))
		kafka_conf_must_set(conf, "debug", "feature");
}

/* OpenSSL names neither the file nor why it cannot be read. */
static bool can_read_files(const rd_kafka_conf_t *conf, struct error *err)
{
	static const char *const names[] = {"ssl.ca.location", "ssl.certificate.location",
					    "ssl.key.location", "ssl.keystore.location",
					    "ssl.crl.location"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char path[PATH_MAX] = "";
		size_t size = sizeof(path);

		if (rd_kafka_conf_get(conf, names[i], path, &size) == RD_KAFKA_CONF_OK &&
		    path[0] != '\0' && strcmp(path, "probe") != 0 && access(path, R_OK) != 0)
			return error_set(err, "kafka.properties: %s: cannot read %s: %s", names[i],
					 path, strerror(errno));
	}
	return true;
}

rd_kafka_conf_t *kafka_conf_new(const struct kafka_options *options, const char *bootstrap,
				const char *password, struct error *err)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char words[512];
	bool ok = true;

	bool asks = kafka_wants_token_events(options);

	rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR |
					   RD_KAFKA_EVENT_LOG |
					   (asks ? RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH : 0));
	rd_kafka_conf_enable_sasl_queue(conf, !asks); /* otherwise they come by the main queue */
	must_set_all(conf, tuning, sizeof(tuning) / sizeof(tuning[0]));
	for (size_t i = 0; ok && options->properties != NULL && i < options->properties->count; i++)
		ok = set_property(conf, options->properties->items[i], err);
	must_set_all(conf, guarantees, sizeof(guarantees) / sizeof(guarantees[0]));
	if (PLANTED("no-idempotence")) {
		kafka_conf_must_set(conf, "enable.gapless.guarantee", "false");
		kafka_conf_must_set(conf, "enable.idempotence", "false");
	}
	for (size_t i = 0; i < sizeof(if_known) / sizeof(if_known[0]); i++)
		rd_kafka_conf_set(conf, if_known[i].name, if_known[i].value, words, sizeof(words));
	ok = ok && (asks || set_token_source(conf, err)) &&
	     kafka_secrets_conf(options, conf, password, err) && can_read_files(conf, err);
	explain_certificates(conf);
	explain_scram(conf);
	if (ok && rd_kafka_conf_set(conf, "bootstrap.servers", bootstrap, words, sizeof(words)) !=
		      RD_KAFKA_CONF_OK)
		ok = error_set(err, "kafka.bootstrap_servers: %s", words);
	if (!ok) {
		rd_kafka_conf_destroy(conf);
		return NULL;
	}
	return conf;
}

/* A message has no time of its own: it goes with its transaction. A request must not take longer
 * than a transaction may (rd_kafka_conf_finalize). */
void kafka_conf_transactional(rd_kafka_conf_t *conf, const struct kafka_options *options,
			      const struct producer_id *id)
{
	size_t timeout_ms = (size_t)options->transaction_timeout_ms;
	char *name = xasprintf("%s.%s.%d", options->transactional_prefix, id->group, id->number);
	char text[32];

	snprintf(text, sizeof(text), "%zu", timeout_ms);
	kafka_conf_must_set(conf, "transactional.id", name);
	kafka_conf_must_set(conf, "transaction.timeout.ms", text);
	if (kafka_conf_get_size(conf, "socket.timeout.ms") > timeout_ms)
		kafka_conf_must_set(conf, "socket.timeout.ms", text);
	free(name);
}

/* Without a command, tokens are wanted on a thread of librdkafka's: as events they would come to
 * us, and from there is no way to its own source of unsecured ones. Refused if nothing wants
 * tokens. */
static void serve_tokens(rd_kafka_t *rk)
{
	rd_kafka_error_t *refused = rd_kafka_sasl_background_callbacks_enable(rk);

	if (refused != NULL)
		rd_kafka_error_destroy(refused);
}

static rd_kafka_t *client_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, rd_kafka_queue_t **queue,
			      bool takes_conf, struct error *err)
{
	char words[512];
	rd_kafka_t *rk = rd_kafka_new(type, conf, words, sizeof(words));

	if (rk == NULL) {
		if (takes_conf)
			rd_kafka_conf_destroy(conf);
		kafka_login_set_up(words, err);
		return NULL;
	}
	serve_tokens(rk);
	rd_kafka_set_log_queue(rk, NULL);
	*queue = rd_kafka_queue_get_main(rk);
	return rk;
}

rd_kafka_t *kafka_client_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, rd_kafka_queue_t **queue,
			     struct error *err)
{
	return client_new(type, conf, queue, true, err);
}

/* When it cannot make the client, rd_kafka_new frees interceptors that conf still names: to destroy
 * conf then frees them again (fixed in 2.13.0). It is lost rather. */
rd_kafka_t *kafka_watched_client_new(rd_kafka_conf_t *conf, rd_kafka_queue_t **queue,
				     struct error *err)
{
	bool frees_once = rd_kafka_version() >= 0x020d0000;

	return client_new(RD_KAFKA_PRODUCER, conf, queue, frees_once, err);
}

bool kafka_transport_of(const struct kafka_options *options, struct kafka_transport *transport,
			struct error *err)
{
	rd_kafka_conf_t *conf = kafka_conf_new(options, options->bootstrap_servers, NULL, err);
	size_t size = sizeof(transport->mechanism);
	bool sasl;

	if (conf == NULL)
		return false;
	sasl = is_set_to(conf, "security.protocol", "sasl_plaintext") ||
	       is_set_to(conf, "security.protocol", "sasl_ssl");
	*transport = (struct kafka_transport){
	    .tls = is_set_to(conf, "security.protocol", "ssl") ||
		   is_set_to(conf, "security.protocol", "sasl_ssl"),
	    .verifies_certificate =
		!is_set_to(conf, "enable.ssl.certificate.verification", "false"),
	    .verifies_host = !is_set_to(conf, "ssl.endpoint.identification.algorithm", "none"),
	};
	if (sasl)
		rd_kafka_conf_get(conf, "sasl.mechanisms", transport->mechanism, &size);
	rd_kafka_conf_destroy(conf);
	return true;
}

struct login_fault kafka_closed_fault(const rd_kafka_t *rk)
{
	char protocol[32] = "";
	size_t size = sizeof(protocol);

	rd_kafka_conf_get(rd_kafka_conf((rd_kafka_t *)(uintptr_t)rk), "security.protocol", protocol,
			  &size);
	return kafka_login_closed(protocol);
}

/* Thread: the broker's. */
static void on_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
	(void)rk;
	kafka_log(level, facility, text);
}

bool kafka_embedded_new(struct embedded *embedded, char **bootstrap, struct error *err)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char words[512];

	rd_kafka_conf_set_log_cb(conf, on_log);
	kafka_conf_must_set(conf, "client.id", "embedded");
	embedded->handle = rd_kafka_new(RD_KAFKA_PRODUCER, conf, words, sizeof(words));
	if (embedded->handle == NULL) {
		rd_kafka_conf_destroy(conf);
		return error_set(err, "cannot start the embedded broker: %s", words);
	}
	embedded->cluster = rd_kafka_mock_cluster_new(embedded->handle, 1);
	if (embedded->cluster == NULL) {
		kafka_embedded_free(embedded);
		return error_set(err, "cannot start the embedded broker: no loopback socket");
	}
	*bootstrap = xstrdup(rd_kafka_mock_cluster_bootstraps(embedded->cluster));
	return true;
}

void kafka_embedded_free(struct embedded *embedded)
{
	if (embedded->cluster != NULL)
		rd_kafka_mock_cluster_destroy(embedded->cluster);
	if (embedded->handle != NULL)
		rd_kafka_destroy(embedded->handle);
	*embedded = (struct embedded){0};
}

bool kafka_serves_embedded(rd_kafka_t *rk, bool *is_known)
{
	char *id = rd_kafka_clusterid(rk, 0);
	/* rd_kafka_mock_cluster_new0 */
	bool yes = id != NULL && strncmp(id, "mockCluster", 11) == 0;

	*is_known = id != NULL;
	if (id != NULL)
		rd_kafka_mem_free(rk, id);
	return yes;
}
