/* SPDX-License-Identifier: ISC */
/*
 * test_pg_dsn.c - which connection strings cannot be right, and that no password is in the words
 */
#include "postgres.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct error err;

static void refuses(const char *dsn, const char *says)
{
	err.text[0] = '\0';
	if (pg_dsn_check("database.dsn", dsn, &err))
		fail_msg("accepted: %s", dsn);
	if (strstr(err.text, says) == NULL || strncmp(err.text, "database.dsn ", 13) != 0)
		fail_msg("%s: %s", dsn, err.text);
	assert_null(strstr(err.text, "hunter2"));
}

static void accepts(const char *dsn)
{
	if (!pg_dsn_check("database.dsn", dsn, &err))
		fail_msg("%s: %s", dsn, err.text);
}

static void test_what_is_right(void **state)
{
	(void)state;
	accepts("");
	accepts("host=db user=u dbname=shop sslmode=verify-full sslrootcert=/not/there");
	accepts("host=one,two port=5432,5433 target_session_attrs=read-write user=u");
	accepts("host=one,two port=5432 user=u");
	accepts("host=one,two port=,5433 user=u");
	accepts("host=@abstract,/run/postgresql user=u");
	accepts("hostaddr=192.0.2.1 host=db user=u");
	accepts("postgresql://u:hun%40ter2@[::1]:5432,db:5433/shop?sslmode=require");
	accepts("host=name-that-does-not-exist.invalid user=u");
}

static void test_values(void **state)
{
	(void)state;
	refuses("host=db sslmode=maybe", "invalid sslmode value: \"maybe\"");
	refuses("host=db gssencmode=maybe", "invalid gssencmode value");
	refuses("host=db channel_binding=maybe", "invalid channel_binding value");
	refuses("host=db target_session_attrs=best", "invalid target_session_attrs value");
	refuses("host=db ssl_min_protocol_version=TLSv9", "ssl_min_protocol_version");
	refuses("host=db ssl_min_protocol_version=TLSv1.3 ssl_max_protocol_version=TLSv1.2",
		"invalid SSL protocol version range");
	refuses("postgresql://db/shop?sslmode=maybe", "invalid sslmode value");
}

static void test_what_does_not_parse(void **state)
{
	(void)state;
	refuses("host=db sslmod=require", "does not parse");
	refuses("host=db password=two hunter2", "does not parse");
	refuses("host=db password='hunter2", "does not parse");
	refuses("postgresql://[::1/shop", "does not parse");
}

static void test_ports(void **state)
{
	(void)state;
	refuses("host=db port=abc", "port that cannot be right");
	refuses("host=db port=0", "port that cannot be right");
	refuses("host=db port=65536", "port that cannot be right");
	refuses("host=db port=5432x", "port that cannot be right");
	refuses("host=db:5432", "a port in host=");
	refuses("host=db1,127.0.0.1:5432 port=1,2", "a port in host=");
	accepts("host=::1,fe80::1,/var/run/a:b,@a:b user=u");
	accepts("postgresql://u@[::1]:5432,db:5433/shop");
}

static void test_a_timeout(void **state)
{
	(void)state;
	refuses("host=db connect_timeout=5s user=u", "no whole number of seconds");
	accepts("host=db connect_timeout=5 user=u");
	accepts("host=db connect_timeout='' user=u");
}

/* libpq would take a part of the password for the host or the port, and quote it. */
static void test_a_password_that_is_not_encoded(void **state)
{
	(void)state;
	refuses("postgresql://u:p@hunter2@db/shop", "%40 for @");
	refuses("postgresql://u:hunter2/x@db/shop", "%2F for /");
	refuses("postgresql://u:p@ss:hunter2@db/shop", "%40 for @");
	refuses("host=db password=hunter2 sslmode=hunter2", "one of its values is invalid");
}

static void test_services(void **state)
{
	char path[] = "/tmp/test_pg_dsn.XXXXXX";
	static const char text[] = "[good]\nhost=one,two\nport=1,2\n[bad]\nsslmode=maybe\n";
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	setenv("PGSERVICEFILE", path, 1);
	accepts("service=good user=u");
	refuses("service=nope user=u", "definition of service \"nope\" not found");
	refuses("service=bad user=u", "invalid sslmode value");
	unlink(path);
	refuses("service=good user=u", "not found");
	unsetenv("PGSERVICEFILE");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_what_is_right),
	    cmocka_unit_test(test_values),
	    cmocka_unit_test(test_what_does_not_parse),
	    cmocka_unit_test(test_ports),
	    cmocka_unit_test(test_a_timeout),
	    cmocka_unit_test(test_a_password_that_is_not_encoded),
	    cmocka_unit_test(test_services),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
