/* SPDX-License-Identifier: ISC */
/*
 * dsn.c - connection strings: whether one can be right, judged without a connection
 */
#include "postgres.h"

#include "base/xalloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *value_of(const PQconninfoOption *options, const char *keyword)
{
	for (; options->keyword != NULL; options++)
		if (strcmp(options->keyword, keyword) == 0)
			return options->val != NULL ? options->val : "";
	return "";
}

/* In a URI, an @, / or : of a password that is not percent-encoded ends up in the host or the port,
 * and libpq's words would quote it. A socket's directory may be abstract: "@name". */
static bool is_host_list(const char *hosts)
{
	for (const char *at = hosts; (at = strchr(at, '@')) != NULL; at++)
		if (at != hosts && at[-1] != ',')
			return false;
	return true;
}

/* "db1:5432" is no name that could ever have an address; an address of IPv6 has more colons. */
static bool has_port_in_host(const char *hosts)
{
	for (;; hosts++) {
		size_t len = strcspn(hosts, ",");
		const char *colon = memchr(hosts, ':', len);

		if (colon != NULL && *hosts != '/' && *hosts != '@' &&
		    memchr(colon + 1, ':', (size_t)(hosts + len - colon - 1)) == NULL)
			return true;
		hosts += len;
		if (*hosts == '\0')
			return false;
	}
}

/* libpq reads this one only where it waits by itself, so that `run` would take what `check` does
 * not. */
static bool is_timeout(const char *text)
{
	char *end;

	(void)strtol(text, &end, 10);
	return *end == '\0';
}

static bool is_port_list(const char *ports)
{
	for (;; ports++) {
		size_t len = strspn(ports, "0123456789");

		if (len > 5 || (len > 0 && (atoi(ports) < 1 || atoi(ports) > 65535)))
			return false;
		ports += len;
		if (*ports != ',')
			return *ports == '\0';
	}
}

/* libpq judges the values when it begins to connect: the modes, the service, the local user. The
 * connection itself is to a socket that cannot exist, so it fails immediately, on this machine. */
static PGconn *pretend(const PQconninfoOption *options)
{
	static const char *const replaced[][2] = {{"host", "/dev/null"}, {"port", "5432"}};
	const char **keys, **values;
	size_t count = 0;
	PGconn *conn;

	while (options[count].keyword != NULL)
		count++;
	keys = xcalloc(count + 3, sizeof(*keys));
	values = xcalloc(count + 3, sizeof(*values));
	count = 0;
	for (; options->keyword != NULL; options++) {
		if (options->val == NULL || strcmp(options->keyword, "host") == 0 ||
		    strcmp(options->keyword, "hostaddr") == 0 ||
		    strcmp(options->keyword, "port") == 0)
			continue;
		keys[count] = options->keyword;
		values[count++] = options->val;
	}
	for (size_t i = 0; i < 2; i++) {
		keys[count] = replaced[i][0];
		values[count++] = replaced[i][1];
	}
	conn = PQconnectStartParams(keys, values, 0);
	if (conn == NULL)
		abort(); /* out of memory */
	free(keys);
	free(values);
	return conn;
}

static bool judge_values(const char *what, const PQconninfoOption *options, struct error *err)
{
	PGconn *conn = pretend(options);
	const char *words = PQerrorMessage(conn), *password = value_of(options, "password");
	bool right = PQstatus(conn) != CONNECTION_BAD ||
		     strncmp(words, "connection to server ", 21) == 0 ||
		     pg_refusal_is_shortage(words);

	if (!right && *password != '\0' && strstr(words, password) != NULL)
		error_set(err, "%s cannot be right: one of its values is invalid; correct it",
			  what);
	else if (!right)
		error_set(err, "%s cannot be right: %.*s; %s", what, (int)strcspn(words, "\n"),
			  words,
			  strstr(words, "local user") != NULL ? "name the role in it, user=..."
							      : "correct it");
	PQfinish(conn);
	return right;
}

bool pg_dsn_check(const char *what, const char *dsn, struct error *err)
{
	PQconninfoOption *options = PQconninfoParse(dsn, NULL);
	bool right;

	if (options ==
	    NULL) /* libpq's words would quote parts of it, which may be the password's */
		return error_set(err,
				 "%s does not parse as a connection string; write key=value pairs "
				 "of options that libpq knows, with single quotes around a value "
				 "that has blanks, or a postgresql:// URI; database.password_file "
				 "takes a password as it is",
				 what);
	if (!is_host_list(value_of(options, "host")) || !is_port_list(value_of(options, "port")))
		right = error_set(err,
				  "%s has a host or a port that cannot be right; in a URI, write "
				  "special characters of the password with their codes, such as "
				  "%%40 for @ and %%2F for /",
				  what);
	else if (has_port_in_host(value_of(options, "host")))
		right = error_set(err, "%s has a port in host=; write it as port=", what);
	else if (!is_timeout(value_of(options, "connect_timeout")))
		right = error_set(
		    err, "%s has a connect_timeout that is no whole number of seconds", what);
	else
		right = judge_values(what, options, err);
	PQconninfoFree(options);
	return right;
}

bool pg_dsn_has_password(const char *dsn)
{
	PQconninfoOption *options = PQconninfoParse(dsn, NULL);
	bool has = options != NULL && *value_of(options, "password") != '\0';

	PQconninfoFree(options);
	return has;
}
