/* SPDX-License-Identifier: ISC */
/*
 * headers.c - a flat JSON object as a list of headers
 *
 * A scanner over the text, strict as RFC 8259 is, with nothing to recurse into: the first nested
 * value ends it.
 */
#include "headers.h"

#include "base/text.h"
#include "base/xalloc.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Brokers and consumers index headers one by one; more than this is a mistake, not a use. */
enum { MEMBERS_MAX = 1000 };

/* Text space beyond this is given back: no broker takes a record with such headers. */
enum { TEXT_KEEP = 1024 * 1024 };

/* Of a name, in a message. */
enum { SHOWN_MAX = 64 };

struct scan {
	const char *start, *at, *end;
	struct headers *out;
	struct error *err;
	size_t member;	   /* 1 is the first */
	struct slice name; /* of the member; data == NULL until it is known to be a good one */
};

/* ---- the list ---- */

void headers_clear(struct headers *headers)
{
	headers->count = 0;
	headers->text_used = 0;
	if (headers->text_capacity > TEXT_KEEP) {
		free(headers->text);
		headers->text = NULL;
		headers->text_capacity = 0;
	}
}

void headers_free(struct headers *headers)
{
	free(headers->items);
	free(headers->text);
	*headers = (struct headers){0};
}

void headers_add(struct headers *headers, struct slice name, struct slice value)
{
	if (headers->count == headers->capacity) {
		headers->capacity = headers->capacity ? headers->capacity * 2 : 16;
		headers->items =
		    xrealloc(headers->items, headers->capacity * sizeof(*headers->items));
	}
	headers->items[headers->count++] = (struct header){name, value};
}

static void rebase(struct slice *slice, const char *old, size_t used, char *fresh)
{
	uintptr_t offset = (uintptr_t)slice->data - (uintptr_t)old;

	if (slice->data != NULL && offset < used)
		slice->data = fresh + offset;
}

/* Room for len more bytes of text. Within one parse it can grow once only, at the first string that
 * needs decoding, because room for all the rest is asked for; what earlier parses put there moves.
 */
static void reserve(struct headers *headers, size_t len)
{
	size_t needed = headers->text_used + len;
	char *fresh;

	if (needed <= headers->text_capacity)
		return;
	headers->text_capacity =
	    needed > headers->text_capacity * 2 ? needed : headers->text_capacity * 2;
	fresh = xmalloc(headers->text_capacity);
	if (headers->text_used > 0)
		memcpy(fresh, headers->text, headers->text_used);
	for (size_t i = 0; i < headers->count; i++) {
		rebase(&headers->items[i].name, headers->text, headers->text_used, fresh);
		rebase(&headers->items[i].value, headers->text, headers->text_used, fresh);
	}
	free(headers->text);
	headers->text = fresh;
}

/* ---- messages: names and places, never values ---- */

static bool fail_syntax(const struct scan *s, const char *expected)
{
	return error_set(s->err, "headers are not valid JSON: expected %s at byte %zu", expected,
			 (size_t)(s->at - s->start));
}

static bool fail_member(const struct scan *s, const char *what)
{
	char shown[SHOWN_MAX + 1];

	if (s->name.data == NULL)
		return error_set(s->err, "headers member %zu %s", s->member, what);
	text_print(shown, sizeof(shown), "%.*s", (int)s->name.len, s->name.data);
	return error_set(s->err, "headers member \"%s%s\" %s", shown,
			 s->name.len > SHOWN_MAX ? "..." : "", what);
}

/* ---- characters ---- */

static char *utf8_put(char *out, uint32_t c)
{
	if (c < 0x80) {
		*out++ = (char)c;
	} else if (c < 0x800) {
		*out++ = (char)(0xC0 | c >> 6);
		*out++ = (char)(0x80 | (c & 0x3F));
	} else if (c < 0x10000) {
		*out++ = (char)(0xE0 | c >> 12);
		*out++ = (char)(0x80 | (c >> 6 & 0x3F));
		*out++ = (char)(0x80 | (c & 0x3F));
	} else {
		*out++ = (char)(0xF0 | c >> 18);
		*out++ = (char)(0x80 | (c >> 12 & 0x3F));
		*out++ = (char)(0x80 | (c >> 6 & 0x3F));
		*out++ = (char)(0x80 | (c & 0x3F));
	}
	return out;
}

/* Harmless within Kafka, but names end up in logs and in HTTP bridges. text is UTF-8. */
static bool has_control(struct slice text)
{
	size_t len;

	for (size_t i = 0; i < text.len; i += len) {
		len = text_character(text.data + i, text.len - i);
		if (text_is_control(text.data + i, len))
			return true;
	}
	return false;
}

/* ---- strings: a function returns NULL, or what is wrong ---- */

static const char invalid_escape[] = "an invalid escape";
static const char lone_surrogate[] = "half of a surrogate pair";

/* Finds the end of the string that at stands in; at is then behind its quote. */
static const char *scan_string(struct scan *s, struct slice *raw, bool *escaped)
{
	const char *at = s->at;

	*escaped = false;
	while (at < s->end && *at != '"') {
		unsigned char c = (unsigned char)*at;
		size_t step = 1;

		if (c < 0x20)
			return "a control character that is not escaped";
		if (c == '\\') {
			*escaped = true;
			step = 2;
		} else if (c >= 0x80) {
			step = text_character(at, (size_t)(s->end - at));
		}
		if (step == 0)
			return "invalid UTF-8";
		if (step > (size_t)(s->end - at))
			break;
		at += step;
	}
	if (at >= s->end || *at != '"')
		return "no closing quote";
	*raw = (struct slice){s->at, (size_t)(at - s->at)};
	s->at = at + 1;
	return NULL;
}

static bool hex4(const char *at, const char *end, uint32_t *code)
{
	char digits[5] = "";

	if (end - at < 4)
		return false;
	memcpy(digits, at, 4);
	*code = (uint32_t)strtoul(digits, NULL, 16);
	return strspn(digits, "0123456789abcdefABCDEF") == 4;
}

/* Decodes the \u escape (or the pair of them) whose digits *at stands before. */
static const char *decode_unicode(const char **at, const char *end, uint32_t *code)
{
	uint32_t low;

	if (!hex4(*at, end, code))
		return invalid_escape;
	*at += 4;
	if (*code < 0xD800 || *code > 0xDFFF)
		return NULL;
	if (*code > 0xDBFF || end - *at < 6 || (*at)[0] != '\\' || (*at)[1] != 'u' ||
	    !hex4(*at + 2, end, &low) || low < 0xDC00 || low > 0xDFFF)
		return lone_surrogate;
	*at += 6;
	*code = 0x10000 + ((*code - 0xD800) << 10) + (low - 0xDC00);
	return NULL;
}

/* Decodes the escape whose backslash *at stands behind. */
static const char *decode_escape(const char **at, const char *end, uint32_t *code)
{
	static const char letters[] = "\"\\/bfnrt";
	static const char meant[] = "\"\\/\b\f\n\r\t";
	char letter = *(*at)++;
	const char *found;

	if (letter == 'u')
		return decode_unicode(at, end, code);
	found = memchr(letters, letter, sizeof(letters) - 1);
	if (found == NULL)
		return invalid_escape;
	*code = (uint32_t)meant[found - letters];
	return NULL;
}

/* Decodes raw into the text. Never longer than raw: an escape of 6 bytes gives 3 at most. */
static const char *decode(struct scan *s, struct slice raw, struct slice *text)
{
	const char *at = raw.data, *end = raw.data + raw.len;
	char *out;

	reserve(s->out, (size_t)(s->end - raw.data));
	out = s->out->text + s->out->text_used;
	text->data = out;
	while (at < end) {
		const char *problem;
		uint32_t code;

		if (*at != '\\') {
			*out++ = *at++;
			continue;
		}
		at++;
		problem = decode_escape(&at, end, &code);
		if (problem != NULL)
			return problem;
		out = utf8_put(out, code);
	}
	text->len = (size_t)(out - text->data);
	s->out->text_used += text->len;
	return NULL;
}

static const char *string(struct scan *s, struct slice *text)
{
	bool escaped;
	const char *problem;

	s->at++;
	problem = scan_string(s, text, &escaped);
	if (problem != NULL || !escaped)
		return problem;
	return decode(s, *text, text);
}

/* ---- values ---- */

static bool string_value(struct scan *s, struct slice *value)
{
	const char *problem = string(s, value);
	char words[64];

	if (problem == NULL)
		return true;
	snprintf(words, sizeof(words), "has %s in its value", problem);
	return fail_member(s, words);
}

static bool digits(struct scan *s)
{
	const char *begin = s->at;

	while (s->at < s->end && *s->at >= '0' && *s->at <= '9')
		s->at++;
	return s->at > begin;
}

static bool eat(struct scan *s, char byte)
{
	if (s->at == s->end || *s->at != byte)
		return false;
	s->at++;
	return true;
}

static bool number(struct scan *s)
{
	eat(s, '-');
	if (!eat(s, '0') && !digits(s))
		return false;
	if (eat(s, '.') && !digits(s))
		return false;
	if (eat(s, 'e') || eat(s, 'E')) {
		if (!eat(s, '+'))
			eat(s, '-');
		return digits(s);
	}
	return true;
}

static bool word(struct scan *s, const char *text)
{
	size_t len = strlen(text);

	if ((size_t)(s->end - s->at) < len || memcmp(s->at, text, len) != 0)
		return false;
	s->at += len;
	return true;
}

/* A number, true, false or null. */
static bool bare_value(struct scan *s, struct slice *value)
{
	const char *begin = s->at;

	*value = SLICE_NULL;
	if (word(s, "null"))
		return true;
	if (!word(s, "true") && !word(s, "false") && !number(s))
		return fail_member(s, "is neither a string nor a number nor true, false or null");
	*value = (struct slice){begin, (size_t)(s->at - begin)};
	return true;
}

#define ONLY_FLAT "; only strings, numbers, true, false and null can be headers"

static bool value_of(struct scan *s, struct slice *value)
{
	int first = s->at < s->end ? *s->at : -1;

	if (first == '"')
		return string_value(s, value);
	if (first == '{')
		return fail_member(s, "is an object" ONLY_FLAT);
	if (first == '[')
		return fail_member(s, "is an array" ONLY_FLAT);
	return bare_value(s, value);
}

/* ---- the object ---- */

static void skip_space(struct scan *s)
{
	while (s->at < s->end &&
	       (*s->at == ' ' || *s->at == '\t' || *s->at == '\n' || *s->at == '\r'))
		s->at++;
}

static bool eat_after_space(struct scan *s, char byte)
{
	skip_space(s);
	return eat(s, byte);
}

static bool name_of(struct scan *s, struct slice *name)
{
	const char *problem;
	char words[64];

	if (s->at == s->end || *s->at != '"')
		return fail_syntax(s, "a member's name in double quotes");
	problem = string(s, name);
	if (problem == NULL && has_control(*name))
		problem = "a control character";
	if (problem == NULL)
		return true;
	snprintf(words, sizeof(words), "has %s in its name", problem);
	return fail_member(s, words);
}

static bool member(struct scan *s)
{
	struct slice name = SLICE_NULL, value = SLICE_NULL;

	s->name = SLICE_NULL;
	if (++s->member > MEMBERS_MAX)
		return error_set(s->err,
				 "headers have more than %d members; put what is large "
				 "into the payload",
				 MEMBERS_MAX);
	skip_space(s);
	if (!name_of(s, &name))
		return false;
	s->name = name;
	if (!eat_after_space(s, ':'))
		return fail_syntax(s, "':'");
	skip_space(s);
	if (!value_of(s, &value))
		return false;
	headers_add(s->out, name, value);
	return true;
}

bool headers_parse(struct headers *headers, struct slice json, struct error *err)
{
	struct scan s = {.start = json.data,
			 .at = json.data,
			 .end = json.data + json.len,
			 .out = headers,
			 .err = err};

	assert(json.data != NULL);
	if (!eat_after_space(&s, '{'))
		return error_set(err, "headers are not a JSON object");
	if (!eat_after_space(&s, '}')) {
		do {
			if (!member(&s))
				return false;
		} while (eat_after_space(&s, ','));
		if (!eat(&s, '}'))
			return fail_syntax(&s, "',' or '}'");
	}
	skip_space(&s);
	return s.at == s.end || fail_syntax(&s, "the end");
}
