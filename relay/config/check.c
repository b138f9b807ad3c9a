/* SPDX-License-Identifier: ISC */
/*
 * check.c - the shape of values that are more than a word or a number
 */
#include "base/pgname.h"
#include "table.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

bool config_check_table(const char *text, struct error *err)
{
	struct pgname name;

	return pgname_parse(text, &name, err) && pgname_check(&name, err);
}

static bool is_port(const char *text)
{
	size_t len = strspn(text, "0123456789");

	return len > 0 && len <= 5 && text[len] == '\0' && atoi(text) <= 65535;
}

bool config_check_listen(const char *text, struct error *err)
{
	const char *colon = strrchr(text, ':');
	const char *bracket = strchr(text, ']');
	size_t path_max = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;

	if (*text == '\0')
		return true;
	if (strncmp(text, "unix:", 5) == 0) {
		if (text[5] != '/' || strlen(text + 5) > path_max)
			return error_set(err,
					 "\"%s\" needs an absolute path of at most %zu bytes after "
					 "unix:",
					 text, path_max);
		return true;
	}
	/* An IPv6 address has colons of its own, so it must be in brackets. */
	if (colon == NULL || colon == text || !is_port(colon + 1) ||
	    (*text == '[' ? bracket == NULL || bracket + 1 != colon
			  : memchr(text, ':', (size_t)(colon - text)) != NULL))
		return error_set(err,
				 "\"%s\" is no address; write \"host:port\", \"[v6]:port\", "
				 "\"unix:/path\", or \"\" to listen nowhere",
				 text);
	return true;
}

bool config_check_header(const char *text, struct error *err)
{
	if (*text == '=' || strchr(text, '=') == NULL)
		return error_set(err, "\"%s\" is not name=template, such as \"id=${event_id}\"",
				 text);
	return true;
}

/* ---- properties of librdkafka that are not for the configuration ---- */

struct denial {
	const char *pattern; /* as a shell's */
	const char *why;
};

static const char acks[] = "an event counts as published only when all in-sync replicas have it";
static const char order[] = "repeats and disorder within a key would become possible";
static const char keys[] = "events of a key must go where other producers put that key";
static const char first[] =
    "the relay must know which partition a record goes to, whose first one it sends alone";
static const char transactions[] = "the relay manages Kafka transactions by itself";
static const char give_up[] = "the relay tries until Kafka answers and never gives an event up";
static const char code[] = "it loads code into the relay";
static const char shell[] = "it is a command that the relay would run in a shell";
static const char servers[] = "the brokers are given by kafka.bootstrap_servers";
static const char mock[] = "the in-process broker is chosen by kafka.embedded";
static const char reports[] = "the relay needs the report of every delivery";
static const char queue[] = "the relay keeps its queue short by itself";
static const char events[] = "the relay listens to librdkafka's events and log by itself";
static const char pointer[] = "it can only be set by a program";
static const char signals[] = "the relay handles its signals by itself";

/* The first match counts. */
static const struct denial denials[] = {
    {"acks", acks},
    {"request.required.acks", acks},
    {"enable.idempotence", order},
    {"enable.gapless.guarantee", order},
    {"max.in.flight*", order},
    {"retries", order},
    {"message.send.max.retries", order},
    {"queuing.strategy", order},
    {"msg_order_cmp", order},
    {"partitioner*", keys},
    {"sticky.partitioning.linger.ms", first},
    {"transactional.id", transactions},
    {"transaction.timeout.ms", transactions},
    {"message.timeout.ms", give_up},
    {"delivery.timeout.ms", give_up},
    {"plugin.library.paths", code},
    {"sasl.kerberos.kinit.cmd", shell},
    {"ssl.providers", code},
    {"ssl.engine.*", code},
    {"ssl_engine*", code},
    {"bootstrap.servers", servers},
    {"metadata.broker.list", servers},
    {"test.mock.*", mock},
    {"delivery.report.only.error", reports},
    {"dr_cb", reports},
    {"dr_msg_cb", reports},
    {"queue.buffering.max.messages", queue},
    {"queue.buffering.max.kbytes", queue},
    {"log.queue", events},
    {"statistics.interval.ms", events},
    {"enabled_events", events},
    {"*_cb", pointer},
    {"opaque", pointer},
    {"interceptors", pointer},
    {"default_topic_conf", pointer},
    {"internal.termination.signal", signals},
};

static const char *find_denial(const char *name)
{
	for (size_t i = 0; i < sizeof(denials) / sizeof(denials[0]); i++) {
		if (fnmatch(denials[i].pattern, name, 0) == 0)
			return denials[i].why;
	}
	return NULL;
}

const char *config_property_denied(const char *name)
{
	const char *why = find_denial(name);

	/* librdkafka takes topic properties with this prefix too. */
	if (why == NULL && strncmp(name, "topic.", 6) == 0)
		why = find_denial(name + 6);
	return why;
}

/* Quotes nothing but names: the value may be a secret, and so may be a text without "=". */
bool config_check_property(const char *text, struct error *err)
{
	char name[128];
	size_t len = strcspn(text, "=");
	const char *why;

	if (text[len] == '\0' || len == 0)
		return error_set(err, "not name=value; write such as \"compression.codec=lz4\"");
	if (len >= sizeof(name) || strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789._") < len)
		return error_set(err, "the name before \"=\" is no librdkafka property; names have "
				      "lower-case letters, digits, dots and no blanks");
	memcpy(name, text, len);
	name[len] = '\0';
	why = config_property_denied(name);
	if (why != NULL)
		return error_set(err, "%s is refused: %s; remove it", name, why);
	return true;
}
