/* SPDX-License-Identifier: ISC */
/*
 * check_login.c - the part of `check` about what others could read: the connections to
 * the database and to Kafka, and files with secrets
 */
#include "check.h"

#include "base/xalloc.h"
#include "commands.h"
#include "kafka.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- the connection ---- */

#define VERIFY "set sslmode=verify-full, and sslrootcert= to the certificates of the server's CA"

static bool is_loopback(const char *host)
{
	struct in_addr v4;
	struct in6_addr v6;

	if (inet_pton(AF_INET, host, &v4) == 1)
		return ntohl(v4.s_addr) >> 24 == IN_LOOPBACKNET;
	if (inet_pton(AF_INET6, host, &v6) == 1)
		return IN6_IS_ADDR_LOOPBACK(&v6);
	return strcmp(host, "localhost") == 0;
}

static bool is_local(const PGconn *conn)
{
	const char *host = PQhost(conn), *address = PQhostaddr(conn);

	return (host && (host[0] == '/' || host[0] == '@')) || (address && is_loopback(address));
}

/* As libpq has it of dsn, service file, environment and default; the caller frees it. */
static char *sslmode_of(PGconn *conn)
{
	PQconninfoOption *options = PQconninfo(conn), *option;
	char *mode = NULL;

	for (option = options; option && option->keyword; option++)
		if (strcmp(option->keyword, "sslmode") == 0 && option->val)
			mode = xstrdup(option->val);
	PQconninfoFree(options);
	return mode ? mode : xstrdup("");
}

void check_transport(struct check *check, PGconn *conn)
{
	char *mode = sslmode_of(conn);
	const char *protocol = PQsslAttribute(conn, "protocol");
	bool verified = strncmp(mode, "verify-", 7) == 0;

	if (PQsslInUse(conn) && verified)
		check_ok(check, "the connection to the database uses %s, sslmode=%s",
			 protocol ? protocol : "TLS", mode);
	else if (is_local(conn) || PQgssEncInUse(conn))
		check_ok(check,
			 "the connection to the database does not leave this machine in plain "
			 "text");
	else if (PQsslInUse(conn))
		check_warn(check, VERIFY,
			   "the connection to the database at %s uses TLS, but sslmode=%s does not "
			   "verify that it leads there",
			   PQhost(conn), mode);
	else
		check_warn(check, VERIFY,
			   "the connection to the database at %s is in plain text: events can be "
			   "read and changed on the way",
			   PQhost(conn));
	free(mode);
}

/* ---- the connections to Kafka ---- */

/* Of "SASL_SSL://[::1]:9092" the host. */
static char *host_of(const char *server)
{
	const char *scheme = strstr(server, "://");
	char *host = xstrdup(scheme ? scheme + 3 : server), *end;

	if (host[0] == '[' && (end = strchr(host, ']')) != NULL) {
		*end = '\0';
		memmove(host, host + 1, strlen(host));
	} else if ((end = strrchr(host, ':')) != NULL && strchr(host, ':') == end) {
		*end = '\0';
	}
	return host;
}

/* The first broker of the list that is on another machine, for the caller to free; or NULL. */
static char *remote_of(const char *servers)
{
	char *list = xstrdup(servers), *rest = list, *server, *remote = NULL;

	while (!remote && (server = strsep(&rest, ", ")) != NULL) {
		char *host = host_of(server);

		if (host[0] != '\0' && !is_loopback(host))
			remote = xstrdup(server);
		free(host);
	}
	free(list);
	return remote;
}

/* PLAIN and OAUTHBEARER show the secret itself; of SCRAM passwords can be guessed elsewhere. */
static void warn_of_plain_text(struct check *check, const char *server, const char *mechanism)
{
	bool shows = strcmp(mechanism, "PLAIN") == 0 || strcmp(mechanism, "OAUTHBEARER") == 0;

	if (shows)
		check_warn(
		    check, "set security.protocol=SASL_SSL in kafka.properties",
		    "the connection to Kafka at %s is in plain text: SASL %s sends the %s in it "
		    "as it is, for anybody on the way to use",
		    server, mechanism, mechanism[0] == 'P' ? "password" : "token");
	else if (mechanism[0] != '\0')
		check_warn(check, "set security.protocol=SASL_SSL in kafka.properties",
			   "the connection to Kafka at %s is in plain text: events can be read and "
			   "changed on the way, and passwords be guessed from the login (SASL %s)",
			   server, mechanism);
	else
		check_warn(check, "set security.protocol=SSL or SASL_SSL in kafka.properties",
			   "the connection to Kafka at %s is in plain text: events can be read and "
			   "changed on the way",
			   server);
}

void check_kafka_transport(struct check *check, const struct config *config)
{
	struct kafka_options options = command_kafka_options(config);
	struct kafka_transport transport;
	struct error err;
	char *remote;

	if (config->kafka.embedded || !kafka_transport_of(&options, &transport, &err))
		return; /* what is wrong is found by who connects */
	remote = remote_of(config->kafka.bootstrap_servers);
	if (transport.tls && !transport.verifies_certificate)
		check_warn(check, "remove it from kafka.properties, and set ssl.ca.location",
			   "enable.ssl.certificate.verification=false: anybody on the way can pose "
			   "as a broker and read all events");
	else if (transport.tls && !transport.verifies_host)
		check_warn(check,
			   "remove it from kafka.properties, and call the brokers as their "
			   "certificates do",
			   "ssl.endpoint.identification.algorithm=none: whoever has a certificate "
			   "of the same CA can pose as a broker");
	else if (transport.tls)
		check_ok(check, "the connection to Kafka uses TLS, and verifies the brokers");
	else if (remote)
		warn_of_plain_text(check, remote, transport.mechanism);
	else
		check_ok(check, "the connection to Kafka does not leave this machine");
	free(remote);
}

/* ---- files ---- */

/* The group may: that is how Kubernetes (fsGroup) and packages give a file to a service. */
static void check_file(struct check *check, const char *path)
{
	struct stat status;
	char *remedy;

	if (path[0] == '\0' || stat(path, &status) != 0 || !S_ISREG(status.st_mode) ||
	    !(status.st_mode & S_IROTH))
		return;
	remedy = xasprintf("run chmod o-rwx %s", path);
	check_warn(check, remedy, "%s holds a secret, and every user of this machine may read it",
		   path);
	free(remedy);
}

/* Files that librdkafka reads. */
static void check_property(struct check *check, const char *property)
{
	static const char *const names[] = {
	    "ssl.key.location=", "ssl.keystore.location=", "sasl.kerberos.keytab="};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strncmp(property, names[i], strlen(names[i])) == 0)
			check_file(check, property + strlen(names[i]));
}

void check_secret_files(struct check *check, const char *path, const struct config *config)
{
	if (config->holds_secret)
		check_file(check, path);
	for (size_t i = 0; i < config->secret_files.count; i++)
		check_file(check, config->secret_files.items[i]);
	check_file(check, config->database.password_file);
	check_file(check, config->kafka.sasl_password_file);
	for (size_t i = 0; i < config->kafka.properties.count; i++)
		check_property(check, config->kafka.properties.items[i]);
}
