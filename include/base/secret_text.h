/* SPDX-License-Identifier: ISC */
/*
 * secret_text.h - text that may be secret: read whole, and overwritten
 *
 * Thread: any.
 */
#ifndef OUTBOX_SECRET_TEXT_H
#define OUTBOX_SECRET_TEXT_H

#include "base/error.h"

#include <stddef.h>

/* A whole file as text of at most max bytes. NULL and err, without the file's name: a reason as
 * strerror gives it, or such. Nothing of it stays elsewhere in memory. */
char *secret_slurp(const char *path, size_t max, struct error *err);
char *secret_slurp_fd(int fd, size_t max, struct error *err);

/* Overwrites and frees; sets the pointer to NULL. */
void secret_wipe(char **text);

/* Takes one end of line ("\n" or "\r\n") off the end. */
void secret_trim(char *text);

#endif
