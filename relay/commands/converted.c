/* SPDX-License-Identifier: ISC */
/*
 * converted.c - what JSON converters have made of an event id and of a key
 */
#include "converted.h"

#include "base/xalloc.h"
#include "config.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* What JsonConverter writes first and last where there is a schema. */
static const char begin[] = "{\"schema\":", null_end[] = ",\"payload\":null}";

/* A string in which nothing is escaped: the quickest way, as there may be millions. */
static bool is_plain_string(struct slice text)
{
	if (text.len < 2 || text.data[0] != '"' || text.data[text.len - 1] != '"')
		return false;
	for (size_t i = 1; i < text.len - 1; i++)
		if (text.data[i] == '"' || text.data[i] == '\\' ||
		    (unsigned char)text.data[i] < ' ')
			return false;
	return true;
}

static struct slice text_of(const json_t *id, struct slice header, char **copy)
{
	if (json_is_string(id))
		*copy = xasprintf("%.*s", (int)json_string_length(id), json_string_value(id));
	else if (json_is_integer(id))
		*copy = xasprintf("%" JSON_INTEGER_FORMAT, json_integer_value(id));
	else
		return header;
	return slice_of(*copy);
}

struct slice converted_id(struct slice header, char **copy)
{
	json_error_t ignored;
	json_t *json, *payload;
	struct slice id;

	*copy = NULL;
	if (is_plain_string(header))
		return (struct slice){header.data + 1, header.len - 2};
	if (converted_is_null(header))
		return SLICE_NULL;
	if (header.len == 0 || (header.data[0] != '"' && header.data[0] != '{'))
		return header;
	json = json_loadb(header.data, header.len, JSON_DECODE_ANY, &ignored);
	payload = json_object_get(json, "payload");
	id = text_of(payload != NULL ? payload : json, header, copy);
	json_decref(json);
	return id;
}

bool converted_is_null(struct slice text)
{
	size_t end = sizeof(null_end) - 1, head = sizeof(begin) - 1;

	if (slice_equal(text, slice_of("null")))
		return true;
	return text.len > head + end && memcmp(text.data, begin, head) == 0 &&
	       memcmp(text.data + text.len - end, null_end, end) == 0;
}

bool converted_keeps_text(int format, enum field_kind kind)
{
	switch (kind) {
	case FIELD_TEXT:
	case FIELD_CHAR: /* but for blanks at the end */
	case FIELD_UUID:
	case FIELD_JSON:
	case FIELD_XML:
	case FIELD_ENUM:
	case FIELD_INT16:
	case FIELD_INT32:
	case FIELD_INT64:
		return true;
	case FIELD_DECIMAL: /* bytes in JSON */
		return format != ENCODE_JSON && format != ENCODE_JSON_SCHEMA;
	default:
		return format == ENCODE_PLAIN;
	}
}
