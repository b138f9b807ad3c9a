/* SPDX-License-Identifier: ISC */
/*
 * command.c - a command of the configuration that prints a secret
 */
#include "base/command.h"

#include "base/secret_text.h"
#include "base/text.h"
#include "base/xalloc.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WORDS_MAX = 1024, QUOTED_MAX = 300, DEATH_MS = 50 };

/* A pipe from the command. */
struct stream {
	int fd;
	struct loop_io *io;
};

struct command {
	struct loop *loop; /* borrowed */
	command_done_fn done;
	void *arg;
	int64_t limit_ms;
	pid_t pid; /* 0: it was not started, and why says so */
	struct error why;
	struct stream out, words;
	struct loop_signal *child;
	struct loop_timer *limit; /* where there is no process, its end is reported by it */
	size_t output_len, words_len;
	char output[COMMAND_OUTPUT_MAX + 2]; /* one byte more than allowed, and a NUL */
	char last_words[WORDS_MAX + 1];	     /* the end of stderr */
};

/* ---- reading ---- */

static void stream_close(struct stream *stream)
{
	loop_io_free(&stream->io);
	if (stream->fd >= 0)
		close(stream->fd);
	stream->fd = -1;
}

/* What is there. The stream is closed at its end. */
static ssize_t stream_read(struct stream *stream, char *to, size_t size)
{
	ssize_t len;

	if (stream->fd < 0)
		return 0;
	do
		len = read(stream->fd, to, size);
	while (len < 0 && errno == EINTR);
	if (len == 0 || (len < 0 && errno != EAGAIN))
		stream_close(stream);
	return len > 0 ? len : 0;
}

/* False if it printed too much. */
static bool read_output(struct command *command)
{
	size_t room = COMMAND_OUTPUT_MAX + 1;
	ssize_t len;

	while (command->output_len < room &&
	       (len = stream_read(&command->out, command->output + command->output_len,
				  room - command->output_len)) > 0)
		command->output_len += (size_t)len;
	return command->output_len < room;
}

static void read_words(struct command *command)
{
	char more[WORDS_MAX];
	ssize_t len;

	while ((len = stream_read(&command->words, more, sizeof(more))) > 0) {
		size_t keep = WORDS_MAX - (size_t)len;

		if (keep > command->words_len)
			keep = command->words_len;
		memmove(command->last_words, command->last_words + (command->words_len - keep),
			keep);
		memcpy(command->last_words + keep, more, (size_t)len);
		command->words_len = keep + (size_t)len;
	}
}

/* The last line with something in it, ": like this"; "" if there is none. Of what programs print
 * when they fail it says most: before it come a usage, a traceback, a greeting. */
static char *quote_words(struct command *command)
{
	char *words = command->last_words, *end = words + command->words_len, *line, *clean;
	char quoted[QUOTED_MAX];

	*end = '\0';
	while (end > words && (unsigned char)end[-1] <= ' ')
		*--end = '\0';
	line = memrchr(words, '\n', (size_t)(end - words));
	clean = text_clean(line != NULL ? line + 1 : words);
	text_print(quoted, sizeof(quoted), "%s%s", clean[0] != '\0' ? ": " : "", clean);
	free(clean);
	for (char *c = quoted; *c != '\0'; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = ' ';
	return xstrdup(quoted);
}

/* ---- ending ---- */

static void destroy(struct command *command)
{
	stream_close(&command->out);
	stream_close(&command->words);
	loop_signal_free(&command->child);
	loop_timer_free(&command->limit);
	explicit_bzero(command, sizeof(*command));
	free(command);
}

/* A process that is killed ends at once, unless the kernel has it wait for a disk or a network. It
 * is then left to on_child. */
static bool is_reaped(pid_t pid)
{
	const struct timespec moment = {0, 1000 * 1000};

	for (int ms = 0; ms < DEATH_MS; ms++) {
		if (waitpid(pid, NULL, WNOHANG) != 0)
			return true;
		nanosleep(&moment, NULL);
	}
	return false;
}

void command_stop(struct command **command)
{
	struct command *c = *command;

	*command = NULL;
	if (c == NULL)
		return;
	c->done = NULL;
	stream_close(&c->out);
	stream_close(&c->words);
	loop_timer_stop(c->limit);
	if (c->pid > 0)
		kill(-c->pid, SIGKILL);
	if (c->pid == 0 || is_reaped(c->pid))
		destroy(c);
}

static void report(struct command *command, const char *output, bool permanent)
{
	command_done_fn done = command->done;
	void *arg = command->arg;
	struct error why = command->why;
	char *kept = output != NULL ? xstrdup(output) : NULL;

	command_stop(&command);
	done(arg, kept, permanent, &why);
	secret_wipe(&kept);
}

static void too_much(struct command *command)
{
	error_set(&command->why,
		  "the command printed more than %d KiB, so this is no secret; it is ended",
		  COMMAND_OUTPUT_MAX / 1024);
	report(command, NULL, false);
}

/* As a shell has them (POSIX: Exit Status for Commands). */
static bool is_missing(int status)
{
	return WIFEXITED(status) && (WEXITSTATUS(status) == 126 || WEXITSTATUS(status) == 127);
}

static void describe_failure(struct command *command, int status, const char *words)
{
	struct error *why = &command->why;

	if (is_missing(status))
		error_set(why,
			  "the shell cannot run the command (exit status %d)%s; give the "
			  "program's whole path, and see that the relay's user may execute it",
			  WEXITSTATUS(status), words);
	else if (WIFSIGNALED(status))
		error_set(why, "the command was ended by signal %d (%s)%s", WTERMSIG(status),
			  strsignal(WTERMSIG(status)), words);
	else
		error_set(why,
			  "the command failed with exit status %d%s; try it as the relay's user",
			  WEXITSTATUS(status), words);
}

static void judge(struct command *command, int status)
{
	char *output = command->output, *words;

	read_words(command);
	if (!read_output(command)) {
		too_much(command);
		return;
	}
	output[command->output_len] = '\0';
	words = quote_words(command);
	if (status == 0 && strlen(output) != command->output_len) {
		error_set(&command->why, "the command printed a NUL byte, so this is no secret");
		output = NULL;
	} else if (status == 0) {
		secret_trim(output);
		if (output[0] == '\0') {
			error_set(&command->why,
				  "the command printed nothing%s; it must print the secret to "
				  "standard output",
				  words);
			output = NULL;
		}
	} else {
		describe_failure(command, status, words);
		output = NULL;
	}
	free(words);
	report(command, output, is_missing(status));
}

/* Some child has ended. */
static void on_child(int signo, void *arg)
{
	struct command *command = arg;
	int status;

	(void)signo;
	if (command->pid == 0 || waitpid(command->pid, &status, WNOHANG) != command->pid)
		return;
	command->pid = 0;
	if (command->done == NULL)
		destroy(command); /* it was stopped long ago */
	else
		judge(command, status);
}

static void on_limit(void *arg)
{
	struct command *command = arg;

	if (command->pid > 0)
		error_set(&command->why,
			  "the command has not ended within %lld s, and is killed; see what it "
			  "waits for",
			  (long long)command->limit_ms / 1000);
	report(command, NULL, false);
}

static void on_output(int what, void *arg)
{
	struct command *command = arg;

	(void)what;
	if (!read_output(command))
		too_much(command);
}

static void on_words(int what, void *arg)
{
	(void)what;
	read_words(arg);
}

/* ---- starting ---- */

/* It inherits none of our descriptors but the standard ones; libraries' are not all closed on exec.
 * Where the C library cannot (musl), ours are marked, from Linux 5.11 on (close_range(2)). */
static void inherit_nothing(posix_spawn_file_actions_t *actions)
{
#ifdef __GLIBC__
	posix_spawn_file_actions_addclosefrom_np(actions, STDERR_FILENO + 1);
#else
	(void)actions;
	syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
#endif
}

/* Of ours it inherits only the environment: signals that are blocked or ignored here would be there
 * too. */
static int spawn(const char *line, int out, int words, pid_t *pid)
{
	/* As exec(3) has it, for compatibility: nothing writes to them. */
	char *argv[] = {(char[]){"sh"}, (char[]){"-c"}, (char *)(uintptr_t)line, NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t all, none;
	int error;

	sigfillset(&all);
	sigemptyset(&none);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, words, STDERR_FILENO);
	inherit_nothing(&actions);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF |
						  POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setpgroup(&attributes, 0);
	posix_spawnattr_setsigdefault(&attributes, &all);
	posix_spawnattr_setsigmask(&attributes, &none);
	error = posix_spawn(pid, "/bin/sh", &actions, &attributes, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	return error;
}

static void watch(struct command *command, struct stream *stream, int fd,
		  void (*ready)(int what, void *arg))
{
	fcntl(fd, F_SETFL, O_NONBLOCK);
	stream->fd = fd;
	stream->io = loop_io_new(command->loop, fd, LOOP_READ, ready, command);
}

/* 0, or an errno; then there are no descriptors left. */
static int start(struct command *command, const char *line)
{
	int out[2], words[2], error;

	if (pipe2(out, O_CLOEXEC) != 0)
		return errno;
	if (pipe2(words, O_CLOEXEC) != 0) {
		error = errno;
		close(out[0]);
		close(out[1]);
		return error;
	}
	watch(command, &command->out, out[0], on_output);
	watch(command, &command->words, words[0], on_words);
	error = spawn(line, out[1], words[1], &command->pid);
	close(out[1]);
	close(words[1]);
	if (error != 0)
		command->pid = 0;
	return error;
}

struct command *command_start(struct loop *loop, const char *line, int64_t limit_ms,
			      command_done_fn done, void *arg)
{
	struct command *command = xcalloc(1, sizeof(*command));
	int error;

	command->loop = loop;
	command->done = done;
	command->arg = arg;
	command->limit_ms = limit_ms;
	command->out.fd = command->words.fd = -1;
	command->limit = loop_timer_new(loop, on_limit, command);
	command->child = loop_signal_new(loop, SIGCHLD, on_child, command);
	error = start(command, line);
	if (error != 0)
		error_set(&command->why, "cannot start /bin/sh: %s", strerror(error));
	loop_timer_set(command->limit, error != 0 ? 0 : limit_ms * 1000);
	return command;
}

/* ---- awaited ---- */

struct wait {
	struct loop *loop;
	struct error *err;
	char *output;
};

static void on_awaited(void *arg, const char *output, bool permanent, const struct error *why)
{
	struct wait *wait = arg;

	(void)permanent;
	if (output != NULL)
		wait->output = xstrdup(output);
	else
		*wait->err = *why;
	loop_stop(wait->loop);
}

char *command_run(const char *line, struct error *err)
{
	struct wait wait = {.loop = loop_new(), .err = err};

	command_start(wait.loop, line, COMMAND_LIMIT_MS, on_awaited, &wait);
	loop_run(wait.loop);
	loop_free(&wait.loop);
	return wait.output;
}
