/* SPDX-License-Identifier: ISC */
/*
 * secret.c - a secret from a file or by a command, read anew whenever it is needed
 */
#include "base/secret.h"

#include "base/command.h"
#include "base/xalloc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECRET_MAX = COMMAND_OUTPUT_MAX };

/* ---- files ---- */

/* A pipe would be waited for, with everything else. */
static char *slurp_file(const char *path, struct error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat status;
	char *text = NULL;

	if (fd < 0 || fstat(fd, &status) != 0)
		error_set(err, "%s", strerror(errno));
	else if (!S_ISREG(status.st_mode))
		error_set(err, "it is no file");
	else
		text = secret_slurp_fd(fd, SECRET_MAX, err);
	if (fd >= 0)
		close(fd);
	return text;
}

char *secret_read(const char *option, const char *path, struct error *err)
{
	struct error why;
	char *text = slurp_file(path, &why);

	if (text == NULL) {
		error_set(err,
			  "%s: cannot read %s: %s; see that the file is there, and that the "
			  "relay's user may read it",
			  option, path, why.text);
		return NULL;
	}
	secret_trim(text);
	if (text[0] != '\0')
		return text;
	secret_wipe(&text);
	error_set(err, "%s: %s is empty; write the secret into it", option, path);
	return NULL;
}

/* ---- from either ---- */

struct secret {
	const char *option; /* static */
	secret_told_fn told;
	void *arg;
	struct command *command; /* NULL: it is a file's, read by now */
	struct loop_timer *timer;
	char *text; /* owned */
	struct error why;
};

bool secret_is_configured(const struct secret_source *source)
{
	return source != NULL && ((source->file != NULL && source->file[0] != '\0') ||
				  (source->command != NULL && source->command[0] != '\0'));
}

void secret_cancel(struct secret **secret)
{
	if (*secret == NULL)
		return;
	command_stop(&(*secret)->command);
	loop_timer_free(&(*secret)->timer);
	secret_wipe(&(*secret)->text);
	free(*secret);
	*secret = NULL;
}

static void tell(struct secret *secret, const char *text, bool permanent, const struct error *why)
{
	struct secret told = *secret;

	told.command = NULL;
	free(secret);
	told.told(told.arg, text, permanent, why);
	loop_timer_free(&told.timer);
	secret_wipe(&told.text);
}

static void on_read(void *arg)
{
	struct secret *secret = arg;
	struct error why = secret->why;

	tell(secret, secret->text, true, &why);
}

static void name_option(const char *option, const struct error *why, struct error *err)
{
	error_set(err, "%s: %s", option, why->text);
}

static void on_printed(void *arg, const char *output, bool permanent, const struct error *why)
{
	struct secret *secret = arg;
	struct error err = {""};

	if (output == NULL)
		name_option(secret->option, why, &err);
	tell(secret, output, permanent, &err);
}

struct secret *secret_ask(struct loop *loop, const struct secret_source *source,
			  secret_told_fn told, void *arg)
{
	struct secret *secret = xcalloc(1, sizeof(*secret));

	secret->told = told;
	secret->arg = arg;
	secret->option = source->command_option;
	if (source->file[0] == '\0') {
		secret->command =
		    command_start(loop, source->command, COMMAND_LIMIT_MS, on_printed, secret);
		return secret;
	}
	secret->text = secret_read(source->file_option, source->file, &secret->why);
	secret->timer = loop_timer_new(loop, on_read, secret);
	loop_timer_set(secret->timer, 0);
	return secret;
}

char *secret_get(const struct secret_source *source, struct error *err)
{
	struct error why;
	char *text;

	if (source->file[0] != '\0')
		return secret_read(source->file_option, source->file, err);
	text = command_run(source->command, &why);
	if (text == NULL)
		name_option(source->command_option, &why, err);
	return text;
}
