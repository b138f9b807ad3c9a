/* SPDX-License-Identifier: ISC */
/*
 * error.c - what went wrong, in words for a person
 */
#include "base/error.h"

#include "base/text.h"

#include <assert.h>
#include <stdarg.h>

bool error_set(struct error *err, const char *format, ...)
{
	va_list args;

	assert(err != NULL);
	va_start(args, format);
	text_vprint(err->text, sizeof(err->text), format, args);
	va_end(args);
	return false;
}
