/* SPDX-License-Identifier: ISC */
/*
 * test_secret.c - secrets from files and by commands: what is taken, and what is not
 */
#include "base/secret.h"

#include "config_files.h"

static void write_bytes(const char *bytes, size_t len)
{
	FILE *file = fopen("secret", "w");

	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, len, file), len);
	fclose(file);
}

static void takes(const char *written, const char *expected)
{
	struct error err;
	char *text;

	write_file("secret", written);
	text = secret_read("a.b_file", "secret", &err);
	if (text == NULL)
		fail_msg("%s", err.text);
	assert_string_equal(text, expected);
	secret_wipe(&text);
}

static void test_a_file_is_taken_as_it_is(void **state)
{
	(void)state;
	takes("secret", "secret");
	takes("secret\n", "secret");
	takes("secret\r\n", "secret");
	takes("secret\n\n", "secret\n");
	takes("secret\r", "secret\r");
	takes(" '\"\\ $x ${env:HOME} %s\t", " '\"\\ $x ${env:HOME} %s\t");
	takes("\303\244\342\202\254\n", "\303\244\342\202\254");
	takes("two\nlines\n", "two\nlines");
}

static void refuses(const char *path, const char *says)
{
	struct error err;

	assert_null(secret_read("a.b_file", path, &err));
	if (strncmp(err.text, says, strlen(says)) != 0)
		fail_msg("%s", err.text);
}

static void test_files_that_hold_no_secret(void **state)
{
	char *large = malloc(65538);

	(void)state;
	refuses("nowhere", "a.b_file: cannot read nowhere: No such file or directory; see");
	assert_int_equal(mkdir("dir", 0700), 0);
	refuses("dir", "a.b_file: cannot read dir: it is no file; see");
	write_bytes("", 0);
	refuses("secret", "a.b_file: secret is empty; write");
	write_bytes("\n", 1);
	refuses("secret", "a.b_file: secret is empty; write");
	write_bytes("a\0b", 3);
	refuses("secret", "a.b_file: cannot read secret: it holds a NUL byte, so it is no text");
	memset(large, 'x', 65537);
	write_bytes(large, 65537);
	refuses("secret", "a.b_file: cannot read secret: it is larger than 64 KiB");
	large[65536] = '\0';
	takes(large, large);
	free(large);
}

/* To open one for reading would wait for its writer. */
static void test_a_pipe_is_not_waited_for(void **state)
{
	(void)state;
	assert_int_equal(mkfifo("secret", 0600), 0);
	refuses("secret", "a.b_file: cannot read secret: it is no file; see");
}

/* As Kubernetes does: the directory is a link that is put in the place of the other. */
static void test_a_file_behind_a_link_that_is_replaced(void **state)
{
	struct error err;
	char *text;

	(void)state;
	assert_int_equal(mkdir("one", 0700) | mkdir("two", 0700), 0);
	write_file("one/p", "first");
	write_file("two/p", "second");
	assert_int_equal(symlink("one", "data") | symlink("data/p", "secret"), 0);
	text = secret_read("o", "secret", &err);
	assert_string_equal(text, "first");
	secret_wipe(&text);
	assert_int_equal(symlink("two", "new") | rename("new", "data"), 0);
	text = secret_read("o", "secret", &err);
	assert_string_equal(text, "second");
	secret_wipe(&text);
	assert_int_equal(unlink("one/p") | unlink("two/p") | unlink("data"), 0);
	assert_int_equal(rmdir("one") | rmdir("two"), 0);
}

/* ---- on the loop ---- */

static struct loop *loop;
static char told[800];

static void on_told(void *arg, const char *text, bool permanent, const struct error *why)
{
	assert_ptr_equal(arg, told);
	snprintf(told, sizeof(told), "%s%s", permanent && text == NULL ? "for good: " : "",
		 text != NULL ? text : why->text);
	loop_stop(loop);
}

static const char *ask(const char *file, const char *command)
{
	struct secret_source source = {"f", file, "c", command};

	told[0] = '\0';
	loop = loop_new();
	secret_ask(loop, &source, on_told, told);
	assert_string_equal(told, "");
	loop_run(loop);
	loop_free(&loop);
	return told;
}

static void test_asked_for(void **state)
{
	struct secret_source none = {"f", "", "c", ""}, source = {"f", "secret", "c", ""};
	struct secret *secret;
	struct error err;
	char *text;

	(void)state;
	assert_false(secret_is_configured(NULL));
	assert_false(secret_is_configured(&none));
	write_file("secret", "from a file\n");
	assert_true(secret_is_configured(&source));
	assert_string_equal(ask("secret", ""), "from a file");
	assert_string_equal(ask("", "echo by a command"), "by a command");
	assert_string_equal(ask("", "exit 7"),
			    "c: the command failed with exit status 7; try it as the relay's user");
	assert_int_equal(strncmp(ask("nowhere", ""), "for good: f: cannot read nowhere", 32), 0);
	assert_int_equal(strncmp(ask("", "/nowhere"), "for good: c: the shell", 22), 0);
	text = secret_get(&source, &err);
	assert_string_equal(text, "from a file");
	secret_wipe(&text);
	loop = loop_new();
	secret = secret_ask(loop, &source, on_told, told);
	secret_cancel(&secret);
	assert_null(secret);
	secret_cancel(&secret);
	loop_free(&loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    IN_DIRECTORY(test_a_file_is_taken_as_it_is),
	    IN_DIRECTORY(test_files_that_hold_no_secret),
	    IN_DIRECTORY(test_a_pipe_is_not_waited_for),
	    IN_DIRECTORY(test_a_file_behind_a_link_that_is_replaced),
	    IN_DIRECTORY(test_asked_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
