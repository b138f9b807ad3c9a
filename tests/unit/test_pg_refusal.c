/* SPDX-License-Identifier: ISC */
/*
 * test_pg_refusal.c - what libpq says of connections that did not come about, word by word as
 * libpq 15 and 17 have said it to a PostgreSQL 15, and what the relay makes of it
 */
#include "postgres.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define AT	    "connection to server at \"127.0.0.1\", port 5432 failed: "
#define AUTH_FAILED "\nLOCATION:  auth_failed, auth.c:334\n"
#define NO_ENTRY                                                                                   \
	"FATAL:  28000: no pg_hba.conf entry for host \"127.0.0.1\", user \"u\", database "        \
	"\"postgres\", "
#define WRONG_PASSWORD "FATAL:  28P01: password authentication failed for user \"u\""

struct said {
	const char *words;
	bool permanent;
	const char *remedy; /* is in it; NULL: none */
};

static const struct said said[] = {
    {AT WRONG_PASSWORD AUTH_FAILED, true, "another password"},
    {AT "FATAL:  password authentication failed for user \"u\"\n", true, "another password"},
    {AT "FATAL:  28P01: Passwort-Authentifizierung f\xc3\xbcr Benutzer \"u\" fehlgeschlagen\n",
     true, "another password"},
    {AT WRONG_PASSWORD AUTH_FAILED AT NO_ENTRY "no encryption\n", true, "another password"},
    {AT "fe_sendauth: no password supplied\n", true, "database.password_file"},
    {AT NO_ENTRY "no encryption\n", true, "sslmode=verify-full"},
    {AT NO_ENTRY "SSL encryption\n" AT NO_ENTRY "no encryption\n", true, "add a line"},
    {AT "FATAL:  28000: role \"r\" is not permitted to log in\n", true, "LOGIN"},
    {AT "FATAL:  28000: role \"r\" does not exist\n", true, "fix user="},
    {AT "FATAL:  role \"r\" does not exist\n", true, "fix user="},
    {AT "FATAL:  too many connections for role \"r\"\n", false, "CONNECTION LIMIT"},
    {AT "FATAL:  permission denied for database \"closed\"\n", true, "GRANT CONNECT"},
    {AT "FATAL:  database \"nope\" does not exist\n", true, "dbname="},
    {AT "FATAL:  the database system is starting up\n", false, NULL},
    {AT "FATAL:  3D000: database \"nope\" does not exist\n", true, "dbname="},
    {AT "FATAL:  42501: permission denied for database \"closed\"\nDETAIL:  User does not have "
	"CONNECT privilege.\n",
     true, "GRANT CONNECT"},
    {AT "FATAL:  55000: database \"nocon\" is not currently accepting connections\n", false,
     "ALLOW_CONNECTIONS"},
    {AT "FATAL:  53300: too many connections for role \"r\"\n", false, "CONNECTION LIMIT"},
    {AT "FATAL:  53300: remaining connection slots are reserved for non-replication superuser "
	"connections\n",
     false, "max_connections"},
    {AT "FATAL:  53300: sorry, too many clients already\n", false, "max_connections"},
    {AT "FATAL:  57P03: the database system is starting up\n", false, NULL},
    {AT "Connection refused\n\tIs the server running on that host and accepting TCP/IP "
	"connections?\n",
     false, NULL},
    {"could not translate host name \"nowhere.invalid\" to address: Name or service not known\n",
     false, NULL},
    {AT "server closed the connection unexpectedly\n\tThis probably means the server terminated "
	"abnormally\n\tbefore or while processing the request.\n",
     false, NULL},
    {AT "SSL error: certificate verify failed\n", true, "of no CA in sslrootcert="},
    {AT "SSL error: certificate verify failed: unable to get local issuer certificate\n", true,
     "of no CA in sslrootcert=: put"},
    {AT "SSL error: certificate verify failed: certificate has expired\n", true, "has expired"},
    {AT "SSL error: certificate verify failed: certificate is not yet valid\n", true, "clock"},
    {AT "root certificate file \"/dir/none.pem\" does not exist\nEither provide the file, use the "
	"system's trusted roots with sslrootcert=system, or change sslmode to disable server "
	"certificate verification.\n",
     true, "sslrootcert="},
    {AT "could not read root certificate file \"/dir/empty.pem\": shutdown while in init\n", true,
     "sslrootcert="},
    {AT "server certificate for \"elsewhere.example\" (and 1 other name) does not match host name "
	"\"127.0.0.1\"\n",
     true, "host="},
    {AT "server does not support SSL, but SSL was required\n", true, "ssl = on"},
    {AT "FATAL:  28000: connection requires a valid client certificate\n", true, "sslcert="},
    {AT "SSL error: tlsv13 alert certificate required\n", true, "sslcert="},
    {AT "FATAL:  28000: certificate authentication failed for user \"u\"\n", true, "common name"},
    {AT "SSL error: sslv3 alert certificate expired\n", true, "has expired"},
    {AT "SSL error: ssl/tls alert certificate expired\n", true, "has expired"},
    {AT "SSL error: tlsv1 alert unknown ca\n", true, "ssl_ca_file"},
    {AT "certificate present, but not private key file \"/dir/none.key\"\n", true, "sslkey="},
    {AT "could not load private key file \"/dir/a.key\": key values mismatch\n", true, "sslkey="},
    {AT "private key file \"/dir/a.key\" has group or world access; file must have permissions "
	"u=rw (0600) or less if owned by the current user, or permissions u=rw,g=r (0640) or less "
	"if owned by root\n",
     true, "chmod 0600"},
    {AT "could not read certificate file \"/dir/a.pem\": no start line\n", true, "sslcert="},
    {AT "SSL error: tlsv1 alert protocol version\nThis may indicate that the server does not "
	"support any SSL protocol version between TLSv1.2 and TLSv1.2.\n",
     true, "ssl_min_protocol_version"},
    {AT "SSL error: no protocols available\nThis may indicate that the server does not support any "
	"SSL protocol version between TLSv1 and TLSv1.1.\n",
     true, "OpenSSL"},
    {AT "channel binding required, but server authenticated client without channel binding\n", true,
     "channel_binding"},
    {AT "authentication method requirement \"scram-sha-256\" failed: server did not complete "
	"authentication\n",
     true, "require_auth"},
    {AT "FATAL:  08P01: unsupported startup parameter: options\n", true, "PGOPTIONS"},
    {AT "Connection refused\n" AT WRONG_PASSWORD AUTH_FAILED, false, "another password"},
};

static void test_what_was_said(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(said) / sizeof(said[0]); i++) {
		struct pg_refusal is = pg_refusal_of(said[i].words);
		bool same = said[i].remedy == NULL
				? is.remedy == NULL
				: is.remedy != NULL && strstr(is.remedy, said[i].remedy) != NULL;

		if (is.permanent != said[i].permanent || !same)
			fail_msg("%s: %d %s", said[i].words, is.permanent,
				 is.remedy ? is.remedy : "nothing to do");
	}
}

static void prints(const char *words, const char *text)
{
	struct error err;

	pg_refusal_print(words, &err);
	assert_string_equal(err.text, text);
}

static void test_a_line_for_the_log(void **state)
{
	(void)state;
	prints(AT "FATAL:  3D000: database \"nope\" does not exist\nLOCATION:  InitPostgres, "
		  "postinit.c:948\n",
	       "cannot connect to the database: " AT
	       "FATAL:  3D000: database \"nope\" does not exist; fix dbname=");
	prints(AT "Connection refused\n\tIs the server running?\n",
	       "cannot connect to the database: " AT "Connection refused Is the server running?");
}

/* However long the words are, what to do is in the line. */
static void test_a_long_one(void **state)
{
	char words[2000] = AT "FATAL:  3D000: database \"";
	struct error err;

	(void)state;
	memset(words + strlen(words), 'x', 1500);
	pg_refusal_print(words, &err);
	assert_string_equal(err.text + strlen(err.text) - 13, "; fix dbname=");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_what_was_said),
	    cmocka_unit_test(test_a_line_for_the_log),
	    cmocka_unit_test(test_a_long_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
