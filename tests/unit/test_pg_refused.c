/* SPDX-License-Identifier: ISC */
/*
 * test_pg_refused.c - which failures to connect cannot be waited out, by what libpq says of them
 */
#include "pg_rig.h"
#include "postgres.h"

#include <sys/resource.h>

static bool is_permanent(const char *words)
{
	return pg_refusal_of(words).permanent;
}

static void open_with(const char *dsn)
{
	stop_at = "failed";
	pg = pg_open(loop, &(struct pg_login){.dsn = dsn}, &events, NULL);
	run_for(10 * 1000 * 1000, give_up);
	assert_string_equal(told, "failed");
	pg_close(&pg);
}

static void refused(const char *dsn, const char *says)
{
	told[0] = '\0';
	open_with(dsn);
	if (!permanent || strstr(why, says) == NULL)
		fail_msg("%s: %d %s", dsn, permanent, why);
}

static void test_what_the_string_says(void **state)
{
	(void)state;
	refused("host=127.0.0.1 user=u sslmode=maybe", "invalid sslmode value");
	refused("host=127.0.0.1 user=u service=nope", "nope");
	refused("host=127.0.0.1 user=u sslmod=require", "invalid connection option");
	refused("hostaddr=999.0.0.1 user=u", "999.0.0.1");
	refused("host=127.0.0.1,127.0.0.1 port=1,2,3 user=u", "could not match 3 port numbers");
}

static void test_a_name_without_address_is_waited_for(void **state)
{
	(void)state;
	open_with("host=no-such-name.invalid user=u");
	assert_false(permanent);
	assert_non_null(strstr(why, "no-such-name.invalid"));
}

/* The second host may be wrong for good, the first is only unreachable. */
static void test_one_of_several(void **state)
{
	(void)state;
	open_with("host=no-such-name.invalid,127.0.0.1 port=1 user=u");
	assert_false(permanent);
}

static void agree_to_tls(int fd)
{
	char request[8];

	assert_int_equal(recv(fd, request, sizeof(request), MSG_WAITALL), sizeof(request));
	assert_int_equal(send(fd, "S", 1, MSG_NOSIGNAL), 1);
	fake_await(fd, 'X');
}

static void decline_tls(int fd)
{
	char request[8];

	assert_int_equal(recv(fd, request, sizeof(request), MSG_WAITALL), sizeof(request));
	assert_int_equal(send(fd, "N", 1, MSG_NOSIGNAL), 1);
	fake_await(fd, 'X');
}

static void talk(void (*script)(int fd), const char *options)
{
	char dsn[256];

	fake_start(&fake, script);
	snprintf(dsn, sizeof(dsn), "host=127.0.0.1 port=%d user=u gssencmode=disable %s", fake.port,
		 options);
	refused(dsn, "certificate file");
	fake_stop(&fake);
}

static void test_certificates(void **state)
{
	(void)state;
	talk(agree_to_tls, "sslmode=verify-full sslrootcert=/not/there");
	talk(agree_to_tls, "sslmode=require sslcert=/dev/null sslkey=/not/there");
}

static void test_no_tls_where_it_is_required(void **state)
{
	char dsn[256];

	(void)state;
	fake_start(&fake, decline_tls);
	snprintf(dsn, sizeof(dsn),
		 "host=127.0.0.1 port=%d user=u gssencmode=disable sslmode=require", fake.port);
	refused(dsn, "SSL was required");
	fake_stop(&fake);
}

/* No descriptor for a socket: there will be one again. */
static void test_without_descriptors(void **state)
{
	struct rlimit old, none;

	(void)state;
	getrlimit(RLIMIT_NOFILE, &old);
	none = (struct rlimit){3, old.rlim_max};
	setrlimit(RLIMIT_NOFILE, &none);
	open_with("host=127.0.0.1 port=1 user=u");
	setrlimit(RLIMIT_NOFILE, &old);
	assert_false(permanent);
	assert_non_null(strstr(why, "Too many open files"));
}

static void test_words_of_a_shortage(void **state)
{
	(void)state;
	assert_false(is_permanent("could not look up local user ID 0: Too many open files\n"));
	assert_false(is_permanent("out of memory\n"));
	assert_true(is_permanent("local user with ID 54321 does not exist\n"));
	assert_false(is_permanent(""));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_what_the_string_says),
	    TEST(test_a_name_without_address_is_waited_for),
	    TEST(test_one_of_several),
	    TEST(test_certificates),
	    TEST(test_no_tls_where_it_is_required),
	    TEST(test_without_descriptors),
	    TEST(test_words_of_a_shortage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
