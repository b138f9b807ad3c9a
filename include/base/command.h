/* SPDX-License-Identifier: ISC */
/*
 * command.h - a command of the configuration that prints a secret: run by a shell, off the loop,
 * with limits of time and of output
 *
 * What it writes to stdout is the answer and appears nowhere else. The last line of its stderr is
 * quoted when it fails. The command itself is quoted nowhere.
 *
 * Thread: loop; command_run: main, of a process without a loop.
 */
#ifndef OUTBOX_COMMAND_H
#define OUTBOX_COMMAND_H

#include "base/error.h"
#include "base/loop.h"

#include <stddef.h>
#include <stdint.h>

enum { COMMAND_LIMIT_MS = 30 * 1000, COMMAND_OUTPUT_MAX = 64 * 1024 };

struct command;

/* output is borrowed and overwritten afterwards. NULL: there is none, and why says so, without
 * the command's option. permanent: there is no such program, so trying again is no use. */
typedef void (*command_done_fn)(void *arg, const char *output, bool permanent,
				const struct error *why);

/* Runs `/bin/sh -c line` in a process group of its own, with the environment of this process, no
 * input, none of its descriptors and the default signals. Calls done() once, from the loop; after
 * limit_ms the group is killed. The object is gone by the time done() is called. */
struct command *command_start(struct loop *loop, const char *line, int64_t limit_ms,
			      command_done_fn done, void *arg);

/* Kills the group; done() is not called. NULLs the pointer. */
void command_stop(struct command **command);

/* The same, awaited: with COMMAND_LIMIT_MS. What it printed, to be freed with secret_wipe; or NULL
 * and err. */
char *command_run(const char *line, struct error *err);

#endif
