/* SPDX-License-Identifier: ISC */
/*
 * properties.h - files as java.util.Properties reads them. Pure
 */
#ifndef OUTBOX_CMD_PROPERTIES_H
#define OUTBOX_CMD_PROPERTIES_H

#include "base/error.h"

/* Calls each(key, value, arg) for every entry in the order of the text; a key may come again, and
 * the last one counts then. Both are UTF-8 and hold until each returns. False and err, which names
 * the line, if the text is no UTF-8, or has an escape that Java refuses or that stands for NUL. */
bool properties_read(const char *text, void (*each)(const char *key, const char *value, void *arg),
		     void *arg, struct error *err);

/* A text in ISO 8859-1 as UTF-8; malloc'd. */
char *properties_from_latin1(const char *text);

#endif
