/* SPDX-License-Identifier: ISC */
/*
 * secret.h - a secret from a file or by a command, read anew whenever it is needed
 *
 * Nothing in it is special; only one end of line ("\n" or "\r\n") at its end is not a part of it,
 * since editors and `echo` add one. It has 64 KiB at most, and is not empty.
 *
 * Thread: loop; secret_read any; secret_get main, of a process without a loop.
 */
#ifndef OUTBOX_SECRET_H
#define OUTBOX_SECRET_H

#include "base/error.h"
#include "base/loop.h"
#include "base/secret_text.h"

/* Where it comes from: one of the two. "": not from there. Names of options are for messages. */
struct secret_source {
	const char *file_option, *file;
	const char *command_option, *command;
};

bool secret_is_configured(const struct secret_source *source);

struct secret; /* it is being asked for */

/* Calls told() once, from the loop and never from in here: text is borrowed and overwritten
 * afterwards; NULL: there is none, and why names the option. permanent: it cannot be had before
 * somebody acts (no such file, no such program). The object is gone by the time told() is
 * called. */
typedef void (*secret_told_fn)(void *arg, const char *text, bool permanent,
			       const struct error *why);
struct secret *secret_ask(struct loop *loop, const struct secret_source *source,
			  secret_told_fn told, void *arg);
void secret_cancel(struct secret **secret);

/* The same, awaited. NULL and err; otherwise to be freed with secret_wipe. */
char *secret_get(const struct secret_source *source, struct error *err);

/* A secret in a file. NULL and err, which names option and path. */
char *secret_read(const char *option, const char *path, struct error *err);

#endif
