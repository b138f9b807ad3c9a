/*
 * error.c - what went wrong, in words for a person
 */
#include "error.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

bool error_set(struct error *err, const char *format, ...)
{
	va_list args;

	assert(err != NULL);
	va_start(args, format);
	vsnprintf(err->text, sizeof(err->text), format, args);
	va_end(args);
	return false;
}
