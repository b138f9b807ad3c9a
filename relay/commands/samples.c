/* SPDX-License-Identifier: ISC */
/*
 * samples.c - the samples of what `verify` and `compare` have found
 */
#include "samples.h"

#include "base/text.h"
#include "base/xalloc.h"

#include <stdlib.h>
#include <string.h>

enum { SAMPLES_JSON = 100, SAMPLES_TEXT = 10 };

size_t samples_most(int64_t asked, bool json)
{
	if (asked >= 0)
		return (size_t)asked;
	return json ? SAMPLES_JSON : SAMPLES_TEXT;
}

json_t *samples_text(struct slice text, size_t most)
{
	size_t len = text.len < most ? text.len : most;
	char *copy;
	json_t *json;

	if (text.data == NULL)
		return json_null();
	copy = xmalloc(len + 1);
	memcpy(copy, text.data, len);
	copy[len] = '\0';
	json = json_text(copy);
	free(copy);
	return json;
}
