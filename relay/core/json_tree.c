/* SPDX-License-Identifier: ISC */
/*
 * json_tree.c - a JSON document as a tree, whose numbers are as Jackson reads them
 *
 * json-c parses. Of a whole number beyond 64 bits it makes the largest there is, so an exponent is
 * put behind each such number first, by which it is known in the tree.
 */
#include "json_tree.h"

#include "buffer.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

/* As deep as Jackson goes (StreamReadConstraints). */
enum { DEPTH_MOST = 1000 };

/* More digits than fit into 64 bits are certainly too many, fewer may be. */
enum { DIGITS_SAFE = 18 };

static const char big_mark[] = "e0";

/* ---- what json-c takes beside JSON ---- */

static bool eat_digits(const char **at, const char *end)
{
	const char *begin = *at;

	while (*at < end && **at >= '0' && **at <= '9')
		++*at;
	return *at > begin;
}

static bool eat_number(const char **at, const char *end)
{
	*at += *at < end && **at == '-';
	bool zero = *at < end && **at == '0';
	const char *begin = *at;

	if (!eat_digits(at, end) || (zero && *at - begin > 1))
		return false;
	if (*at < end && **at == '.') {
		++*at;
		if (!eat_digits(at, end))
			return false;
	}
	if (*at == end || (**at != 'e' && **at != 'E'))
		return true;
	++*at;
	*at += *at < end && (**at == '-' || **at == '+');
	return eat_digits(at, end);
}

static bool eat_string(const char **at, const char *end)
{
	for (++*at; *at < end && **at != '"'; ++*at) {
		if ((unsigned char)**at < ' ')
			return false;
		*at += **at == '\\';
	}
	return (*at)++ < end;
}

static bool eat_word(const char **at, const char *end)
{
	static const char *const words[] = {"true", "false", "null"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		size_t len = strlen(words[i]);

		if ((size_t)(end - *at) >= len && memcmp(*at, words[i], len) == 0) {
			*at += len;
			return true;
		}
	}
	return false;
}

static bool eat_token(const char **at, const char *end)
{
	if (strchr(" \t\r\n{}[]:,", **at) != NULL) {
		++*at;
		return true;
	}
	if (**at == '"')
		return eat_string(at, end);
	return **at == '-' || (**at >= '0' && **at <= '9') ? eat_number(at, end)
							   : eat_word(at, end);
}

/* Whether the tokens are JSON's: it takes names in other quotes, and more. */
static bool is_json(const char *at, const char *end)
{
	while (at < end)
		if (*at == '\0' || !eat_token(&at, end))
			return false;
	return true;
}

/* ---- parsing ---- */

static struct json_object *parse(struct slice text, enum json_tokener_error *error)
{
	struct json_tokener *tokener = json_tokener_new_ex(DEPTH_MOST);
	struct json_object *root = NULL;

	*error = json_tokener_error_size;
	if (tokener == NULL)
		abort(); /* out of memory, as in xalloc.h */
	if (text.len < INT32_MAX) {
		json_tokener_set_flags(tokener,
				       JSON_TOKENER_STRICT | JSON_TOKENER_ALLOW_TRAILING_CHARS);
		root = json_tokener_parse_ex(tokener, text.data, (int)text.len);
		*error = json_tokener_get_error(tokener);
		if (root != NULL &&
		    !is_json(text.data, text.data + json_tokener_get_parse_end(tokener))) {
			json_object_put(root);
			root = NULL;
			*error = json_tokener_error_parse_unexpected;
		}
	}
	json_tokener_free(tokener);
	return root;
}

static bool is_beyond(struct slice digits, bool negative)
{
	const char *most = negative ? "9223372036854775808" : "9223372036854775807";

	return digits.len > strlen(most) ||
	       (digits.len == strlen(most) && memcmp(digits.data, most, digits.len) > 0);
}

/* The whole number at *at, copied, with a mark if it is beyond; *at is then behind it. */
static void copy_number(struct buffer *out, const char **at, const char *end)
{
	const char *begin = *at;
	bool negative = *begin == '-';

	*at += negative;
	struct slice digits = {*at, 0};
	while (*at < end && **at >= '0' && **at <= '9')
		++*at;
	digits.len = (size_t)(*at - digits.data);
	buffer_put(out, begin, (size_t)(*at - begin));
	bool whole = *at == end || strchr(".eE", **at) == NULL;
	if (whole && digits.len > DIGITS_SAFE && is_beyond(digits, negative))
		buffer_text(out, big_mark);
	while (*at < end && strchr("0123456789.eE+-", **at) != NULL)
		buffer_byte(out, *(*at)++);
}

static void copy_string(struct buffer *out, const char **at, const char *end)
{
	const char *begin = (*at)++;

	while (*at < end && **at != '"')
		*at += 1 + (**at == '\\' && *at + 1 < end);
	*at += *at < end;
	buffer_put(out, begin, (size_t)(*at - begin));
}

/* Whether any whole number may be beyond; mostly none is. */
static bool has_long_number(struct slice text)
{
	size_t run = 0;

	for (size_t i = 0; i < text.len && run <= DIGITS_SAFE; i++)
		run = text.data[i] >= '0' && text.data[i] <= '9' ? run + 1 : 0;
	return run > DIGITS_SAFE;
}

static struct json_object *parse_marked(struct slice text, enum json_tokener_error *error)
{
	const char *at = text.data, *end = text.data + text.len;
	struct buffer out = {0};
	struct json_object *root;

	while (at < end) {
		if (*at == '"')
			copy_string(&out, &at, end);
		else if (*at == '-' || (*at >= '0' && *at <= '9'))
			copy_number(&out, &at, end);
		else
			buffer_byte(&out, *at++);
	}
	root = parse((struct slice){out.data, out.len}, error);
	buffer_free(&out);
	return root;
}

/* ---- names with a NUL ---- */

static const char nul[] = "\\u0000";

/* Of what is between the quotes. */
static bool has_nul(const char *at, const char *end)
{
	ptrdiff_t len = sizeof(nul) - 1;

	for (; end - at >= len; at += *at == '\\' ? 2 : 1)
		if (memcmp(at, nul, (size_t)len) == 0)
			return true;
	return false;
}

static bool is_name(const char *behind, const char *end)
{
	while (behind < end && strchr(" \t\r\n", *behind) != NULL)
		behind++;
	return behind < end && *behind == ':';
}

bool json_has_nul_name(struct slice text)
{
	const char *at = text.data, *end = text.data + text.len, *begin;
	int depth = 0;

	if (memmem(text.data, text.len, nul, sizeof(nul) - 1) == NULL)
		return false;
	do {
		begin = at;
		if (*at == '"') {
			if (eat_string(&at, end) && is_name(at, end) && has_nul(begin + 1, at - 1))
				return true;
			continue;
		}
		depth += (*at == '{' || *at == '[') - (*at == '}' || *at == ']');
		at++;
	} while (at < end && depth > 0);
	return false;
}

/* ---- the tree ---- */

static void take(struct arena *arena, struct json_object *from, struct json *to);

static struct slice kept(struct arena *arena, const char *bytes, size_t len)
{
	return (struct slice){arena_copy(arena, bytes, len), len};
}

/* A real keeps its text. */
static void take_real(struct json_object *from, struct json *to)
{
	const char *text = json_object_get_string(from);
	size_t len = strlen(text), mark = sizeof(big_mark) - 1;
	bool marked = len > DIGITS_SAFE + mark && strcmp(text + len - mark, big_mark) == 0 &&
		      strspn(text, "-0123456789") == len - mark;

	to->kind = marked ? JSON_BIG : JSON_REAL;
	to->real = json_object_get_double(from);
}

static void take_array(struct arena *arena, struct json_object *from, struct json *to)
{
	to->kind = JSON_ARRAY;
	to->count = json_object_array_length(from);
	to->items = arena_take(arena, (to->count + 1) * sizeof(*to->items));
	for (size_t i = 0; i < to->count; i++)
		take(arena, json_object_array_get_idx(from, i), &to->items[i]);
}

static void take_object(struct arena *arena, struct json_object *from, struct json *to)
{
	size_t room = (size_t)json_object_object_length(from) + 1;

	to->kind = JSON_OBJECT;
	to->items = arena_take(arena, room * sizeof(*to->items));
	to->names = arena_take(arena, room * sizeof(*to->names));
	json_object_object_foreach(from, name, value)
	{
		to->names[to->count] = kept(arena, name, strlen(name));
		take(arena, value, &to->items[to->count++]);
	}
}

static void take(struct arena *arena, struct json_object *from, struct json *to)
{
	switch (json_object_get_type(from)) {
	case json_type_null:
		to->kind = JSON_NULL;
		break;
	case json_type_boolean:
		to->kind = JSON_BOOLEAN;
		to->integer = json_object_get_boolean(from);
		break;
	case json_type_int:
		to->kind = JSON_INTEGER;
		to->integer = json_object_get_int64(from);
		break;
	case json_type_double:
		take_real(from, to);
		break;
	case json_type_string:
		to->kind = JSON_STRING;
		to->text = kept(arena, json_object_get_string(from),
				(size_t)json_object_get_string_len(from));
		break;
	case json_type_array:
		take_array(arena, from, to);
		break;
	case json_type_object:
		take_object(arena, from, to);
		break;
	}
}

const struct json *json_tree(struct arena *arena, struct slice text)
{
	enum json_tokener_error error;
	struct json_object *root =
	    has_long_number(text) ? parse_marked(text, &error) : parse(text, &error);
	struct json *tree;

	if (error != json_tokener_success || root == NULL)
		return NULL;
	tree = arena_take(arena, sizeof(*tree));
	take(arena, root, tree);
	json_object_put(root);
	return tree;
}
