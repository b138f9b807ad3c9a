/*
 * json_text.c - strings in the JSON that we print
 */
#include "base/json_text.h"

#include "base/text.h"

#include <stdlib.h>

json_t *json_text(const char *text)
{
	char *clean = text ? text_clean(text) : NULL;
	json_t *json = clean ? json_string(clean) : json_null();

	free(clean);
	return json;
}
