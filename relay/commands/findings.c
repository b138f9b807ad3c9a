/* SPDX-License-Identifier: ISC */
/*
 * findings.c - one finding of `check`: printed as it comes, or put into the list
 */
#include "base/text.h"
#include "base/xalloc.h"
#include "check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const level_names[] = {"ok", "warn", "error"};

void check_add(struct check *check, enum check_level level, const char *remedy, const char *format,
	       ...)
{
	va_list args;
	char *what;

	va_start(args, format);
	what = xvasprintf(format, args);
	va_end(args);
	check->failed = check->failed || level == CHECK_ERROR;
	if (check->list)
		json_array_append_new(
		    check->list, json_pack("{s:s, s:o, s:o}", "level", level_names[level], "what",
					   json_text(what), "remedy", json_text(remedy)));
	else
		printf("%-5s %s%s%s\n", level_names[level], what, remedy ? ": " : "",
		       remedy ? remedy : "");
	/* Brokers that do not answer take their time: what is known is printed before. */
	fflush(stdout);
	free(what);
}
