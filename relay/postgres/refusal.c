/* SPDX-License-Identifier: ISC */
/*
 * refusal.c - what it means that a connection did not come about: whether waiting helps, and what
 * to do; pure
 *
 * libpq has no error codes for it, only the words of all attempts: for several hosts, for several
 * addresses of a host, with and without encryption. The words of libpq are English, since no locale
 * is set. The server's are in its own language (lc_messages), and are known by their SQLSTATE where
 * libpq was told to give it (PQERRORS_VERBOSE): "...: FATAL:  28P01: ...". Collected from libpq 15
 * and 17: tests/unit/test_pg_refusal.c.
 */
#include "postgres.h"

#include <stdio.h>
#include <string.h>

/* One attempt is of the first row that it meets. */
struct row {
	const char *state; /* the SQLSTATE, or how it begins; NULL: the words are libpq's own */
	const char *words; /* are in it; NULL: any */
	const char
	    *english;	    /* are in it if it has no SQLSTATE, as the server has them by default */
	bool permanent;	    /* until somebody acts */
	const char *remedy; /* NULL: the words say it */
};

#define PASSWORD "database.password_file, database.password_command, or password= in database.dsn"

#define OPTIONS                                                                                    \
	"the pooler takes no such settings: leave them out of database.dsn and PGOPTIONS, or "     \
	"have "                                                                                    \
	"it ignore them (ignore_startup_parameters)"

#define OTHER_CA                                                                                   \
	"the server's certificate is of no CA in sslrootcert=: put the certificate of its CA "     \
	"there"

static const struct row rows[] = {
    /* Without an SQLSTATE the more particular words come first. */
    {"42501", NULL, "permission denied for database", true,
     "run GRANT CONNECT ON DATABASE for the role"},
    {"53300", "for role", "too many connections for role", false,
     "raise the role's CONNECTION LIMIT, or end other sessions of it"},
    {"53300", NULL, "connection slots", false, "raise max_connections, or end other sessions"},
    {"55000", NULL, "not currently accepting connections", false,
     "run ALTER DATABASE ... ALLOW_CONNECTIONS true"},
    {"28P01", NULL, "password authentication failed", true,
     "the server has no such role, or another password for it, or that has expired (VALID UNTIL); "
     "see user= and " PASSWORD},
    {"28000", "no encryption", "no encryption", true,
     "from this host the server takes no connection of this role without TLS: set "
     "sslmode=verify-full and sslrootcert=, or add a line to its pg_hba.conf"},
    {"28000", "no pg_hba.conf entry", "no pg_hba.conf entry", true,
     "add a line for this role, database and host to the server's pg_hba.conf"},
    {"28000", "valid client certificate", "valid client certificate", true,
     "set sslcert= and sslkey= to a client certificate of a CA that the server knows"},
    {"28000", "certificate authentication failed", "certificate authentication failed", true,
     "the common name of the client certificate (sslcert=) must be the role, or be mapped to it "
     "in the server's pg_ident.conf"},
    {"28000", "not permitted to log in", "not permitted to log in", true,
     "run ALTER ROLE ... LOGIN"},
    {"28", NULL, "role \"", true,
     "fix user=, or create the role: outbox-relay migrate makes outbox_relay"},
    {"3D", NULL, "database \"", true, "fix dbname="},

    {"", "unsupported startup parameter", "unsupported startup parameter", true, OPTIONS},
    {"", "RDS Proxy currently doesn", "RDS Proxy currently doesn", true, OPTIONS},

    {NULL, "no password supplied", NULL, true, "the server wants a password; give " PASSWORD},
    {NULL, "certificate has expired", NULL, true,
     "the server's certificate has expired, or one of its CA: have it renewed"},
    {NULL, "certificate is not yet valid", NULL, true,
     "the time of the server's certificate has not begun: see this machine's clock"},
    {NULL, "self-signed certificate", NULL, true, OTHER_CA},
    {NULL, "unable to get local issuer certificate", NULL, true, OTHER_CA},
    {NULL, "certificate verify failed", NULL, true,
     "the server's certificate is of no CA in sslrootcert=, or its time is over: openssl s_client "
     "-starttls postgres -connect HOST:PORT -CAfile FILE says which"},
    {NULL, "does not match host name", NULL, true,
     "connect by a name that is in the server's certificate (host=; hostaddr= may give the "
     "address beside it)"},
    {NULL, "host name from server certificate", NULL, true,
     "the server's certificate has no name that could be compared; have one made"},
    {NULL, "root certificate file", NULL, true,
     "sslrootcert= must name a file with the certificates of the CAs, in PEM, that this user can "
     "read"},
    {NULL, "alert certificate expired", NULL, true,
     "the client certificate (sslcert=) has expired: renew it"},
    {NULL, "alert unknown ca", NULL, true,
     "the server does not know the CA of the client certificate (sslcert=): see its ssl_ca_file"},
    {NULL, "certificate required", NULL, true,
     "set sslcert= and sslkey= to a client certificate of a CA that the server knows"},
    {NULL, "alert protocol version", NULL, true,
     "the server takes other versions of TLS: see ssl_min_protocol_version and "
     "ssl_max_protocol_version here and there"},
    {NULL, "no protocols available", NULL, true,
     "this machine's OpenSSL has none of these versions of TLS: see ssl_min_protocol_version and "
     "ssl_max_protocol_version"},
    {NULL, "unsupported protocol", NULL, true,
     "the server offers only older versions of TLS: see ssl_min_protocol_version here and "
     "ssl_max_protocol_version there"},
    {NULL, "has group or world access", NULL, true, "run chmod 0600 on it"},
    {NULL, "private key file", NULL, true,
     "sslkey= must name the key of the certificate in sslcert=, and this user must be able to "
     "read it"},
    {NULL, "private SSL key", NULL, true, "sslkey= must name the key of the certificate"},
    {NULL, "certificate file", NULL, true,
     "sslcert= must name a client certificate in PEM that this user can read"},
    {NULL, "SSL was required", NULL, true,
     "turn TLS on at the server (ssl = on), or set another sslmode= if the network is trusted"},
    {NULL, "for minimum SSL protocol version", NULL, true, "fix ssl_min_protocol_version="},
    {NULL, "for maximum SSL protocol version", NULL, true, "fix ssl_max_protocol_version="},
    {NULL, "GSSAPI encryption required", NULL, true, "fix gssencmode="},
    {NULL, "GSSAPI encryption, but it was required", NULL, true, "fix gssencmode="},
    {NULL, "channel binding", NULL, true,
     "channel_binding=require needs TLS and a SCRAM password: fix it, or the line in the server's "
     "pg_hba.conf"},
    {NULL, "authentication method requirement", NULL, true,
     "the server asks for another way to log in than require_auth= allows"},
    {NULL, "invalid integer value", NULL, true, NULL},
};
enum { ROWS = sizeof(rows) / sizeof(rows[0]) };

bool pg_state_is_permanent(const char *sqlstate)
{
	if (sqlstate == NULL)
		return false;
	/* 28 authorisation, 3D no such database, 3F no such schema, 42 no such object or no right.
	 */
	static const char *const classes[] = {"28", "3D", "3F", "42"};
	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
		if (strncmp(sqlstate, classes[i], 2) == 0)
			return true;
	return false;
}

/* An attempt's words go up to its line's end. */
static bool has(const char *line, const char *words)
{
	return memmem(line, strcspn(line, "\n"), words, strlen(words)) != NULL;
}

/* "" if it has none. */
static void state_of(const char *line, char state[6])
{
	const char *colon = memmem(line, strcspn(line, "\n"), ":  ", 3);
	state[0] = '\0';
	if (colon != NULL && strspn(colon + 3, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 5 &&
	    colon[8] == ':')
		snprintf(state, 6, "%s", colon + 3);
}

static bool meets(const struct row *row, const char *line, const char *state)
{
	if (row->state == NULL)
		return state[0] == '\0' && has(line, row->words);
	if (state[0] == '\0')
		return has(line, row->english);
	return strncmp(state, row->state, strlen(row->state)) == 0 &&
	       (row->words == NULL || has(line, row->words));
}

/* One attempt. */
static struct pg_refusal judge(const char *line)
{
	char state[6];
	state_of(line, state);
	for (size_t i = 0; i < ROWS; i++)
		if (meets(&rows[i], line, state))
			return (struct pg_refusal){rows[i].permanent, rows[i].remedy};
	return (struct pg_refusal){pg_state_is_permanent(state), NULL};
}

bool pg_refusal_is_shortage(const char *words)
{
	return strstr(words, "Too many open files") != NULL ||
	       strstr(words, "Cannot allocate memory") != NULL ||
	       strstr(words, "out of memory") != NULL;
}

static bool begins_with(const char *text, const char *words)
{
	return strncmp(text, words, strlen(words)) == 0;
}

/* The first remedy counts: with sslmode=prefer the attempt without TLS fails for a reason of its
 * own. What begins otherwise than with an attempt is about the connection string, or goes on with
 * one. A server that refuses ends the attempts; but if one before it was only unreachable, it may
 * be back the next time; and so may the address of a name. */
struct pg_refusal pg_refusal_of(const char *words)
{
	struct pg_refusal all = {.permanent = *words != '\0'};

	if (pg_refusal_is_shortage(words))
		all.permanent = false;
	for (const char *line = words; *line != '\0'; line += strcspn(line, "\n") + 1) {
		struct pg_refusal one = judge(line);
		if (begins_with(line, "connection to server ")) {
			all.permanent &= one.permanent;
			if (all.remedy == NULL)
				all.remedy = one.remedy;
		}
		all.permanent &= !begins_with(line, "could not translate host name");
		if (line[strcspn(line, "\n")] == '\0')
			break;
	}
	return all;
}

void pg_refusal_print(const char *words, struct error *err)
{
	static const char what[] = "cannot connect to the database: ";
	const char *remedy = pg_refusal_of(words).remedy;
	char line[sizeof(err->text)];
	size_t len = 0, most = sizeof(line) - sizeof(what) - (remedy ? strlen(remedy) + 2 : 0);

	for (; *words != '\0' && len < most; words++) {
		if (begins_with(words, "\nLOCATION:")) /* of the server's source: no word for us */
			words += strcspn(words + 1, "\n");
		else if (*words != '\n' && *words != '\t')
			line[len++] = *words;
		else if (*words == '\n' && words[1] != '\0' && !begins_with(words, "\nLOCATION:"))
			line[len++] = ' ';
	}
	while (len > 0 && line[len - 1] == ' ')
		len--;
	error_set(err, "%s%.*s%s%s", what, (int)len, line, remedy ? "; " : "",
		  remedy ? remedy : "");
}
