/* SPDX-License-Identifier: ISC */
/*
 * properties.c - files as java.util.Properties reads them
 *
 * The syntax is that of the method load(Reader) in the documentation of java.util.Properties; a
 * class named LineReader in it has the details.
 */
#include "properties.h"

#include "base/text.h"
#include "base/xalloc.h"

#include <stdlib.h>
#include <string.h>

static const char BLANKS[] = " \t\f";
static const char ENDS[] = "\r\n";

struct reader {
	const char *at;
	unsigned line;	/* of at */
	unsigned began; /* where the logical line began */
	char *logical;	/* owned; its escapes are still in it */
};

/* ---- logical lines ---- */

/* A line ends with "\n", "\r" or "\r\n". */
static void pass_end(struct reader *reader)
{
	reader->at += strncmp(reader->at, "\r\n", 2) == 0 ? 2 : *reader->at != '\0';
	reader->line++;
}

/* To the first character of the next line that holds an entry; false at the end. */
static bool find_line(struct reader *reader)
{
	for (;;) {
		reader->at += strspn(reader->at, BLANKS);
		if (*reader->at == '\0')
			return false;
		if (*reader->at == '#' || *reader->at == '!')
			reader->at += strcspn(reader->at, ENDS);
		else if (strchr(ENDS, *reader->at) == NULL)
			return true;
		if (*reader->at != '\0')
			pass_end(reader);
	}
}

/* A backslash before the end of a line joins the next one to it, without its leading blanks. */
static char *read_backslash(struct reader *reader, char *out)
{
	reader->at++;
	if (*reader->at == '\0')
		return out;
	if (strchr(ENDS, *reader->at) != NULL) {
		pass_end(reader);
		reader->at += strspn(reader->at, BLANKS);
		return out;
	}
	*out++ = '\\';
	*out++ = *reader->at++;
	return out;
}

static void read_line(struct reader *reader)
{
	char *out = reader->logical;

	reader->began = reader->line;
	while (*reader->at != '\0' && strchr(ENDS, *reader->at) == NULL) {
		if (*reader->at == '\\')
			out = read_backslash(reader, out);
		else
			*out++ = *reader->at++;
	}
	*out = '\0';
}

/* ---- escapes ---- */

/* UTF-16 by four hexadecimal digits; -1 if they are none. */
static int read_unit(const char *digits)
{
	static const char hex[] = "0123456789abcdef0123456789ABCDEF";
	int unit = 0;

	for (int i = 0; i < 4; i++) {
		const char *digit = digits[i] != '\0' ? strchr(hex, digits[i]) : NULL;

		if (digit == NULL)
			return -1;
		unit = unit * 16 + (int)(digit - hex) % 16;
	}
	return unit;
}

static char *put_character(char *out, unsigned c)
{
	static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
	int len = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

	for (int i = len - 1; i > 0; i--) {
		out[i] = (char)(0x80 | (c & 0x3f));
		c >>= 6;
	}
	out[0] = (char)(len == 1 ? c : lead[len] | c);
	return out + len;
}

/* \uXXXX at *in, two of them for a character beyond U+FFFF. NULL if Java refuses it, or if it is
 * NUL, which no text here may hold. Half a pair has no meaning, as to Java when it writes it. */
static char *read_unicode(const char **in, char *out)
{
	int unit = read_unit(*in + 2), low = -1;

	if (unit <= 0)
		return NULL;
	*in += 6;
	if (unit < 0xd800 || unit > 0xdfff)
		return put_character(out, (unsigned)unit);
	if (unit < 0xdc00 && strncmp(*in, "\\u", 2) == 0)
		low = read_unit(*in + 2);
	if (low < 0xdc00 || low > 0xdfff)
		return put_character(out, 0xfffd);
	*in += 6;
	return put_character(out, 0x10000 + (((unsigned)unit - 0xd800) << 10) +
				      ((unsigned)low - 0xdc00));
}

/* In place, since no escape is shorter than what it stands for. */
static bool unescape(char *text)
{
	static const char from[] = "tnrf", to[] = "\t\n\r\f";
	const char *in = text;
	char *out = text;

	while (*in != '\0') {
		const char *known;

		if (*in != '\\') {
			*out++ = *in++;
			continue;
		}
		if (in[1] == 'u') {
			out = read_unicode(&in, out);
			if (out == NULL)
				return false;
			continue;
		}
		known = strchr(from, in[1]);
		*out++ = known != NULL ? to[known - from] : in[1];
		in += 2;
	}
	*out = '\0';
	return true;
}

/* ---- entries ---- */

/* Ends the key in the logical line; where its value begins. */
static char *split(char *text)
{
	char *value;

	while (*text != '\0' && strchr(" \t\f=:", *text) == NULL)
		text += *text == '\\' ? 2 : 1;
	value = text + strspn(text, BLANKS);
	if (*value == '=' || *value == ':')
		value += 1 + strspn(value + 1, BLANKS);
	*text = '\0';
	return value;
}

static bool check_encoding(const char *text, struct error *err)
{
	unsigned line = 1;
	size_t len;

	for (; *text != '\0'; text += len) {
		len = text_character(text, strnlen(text, 4));
		if (len == 0)
			return error_set(err, "line %u is no UTF-8; save the file in that", line);
		line += *text == '\n';
	}
	return true;
}

char *properties_from_latin1(const char *text)
{
	char *utf8 = xmalloc(2 * strlen(text) + 1), *out = utf8;

	for (; *text != '\0'; text++)
		out = put_character(out, (unsigned char)*text);
	*out = '\0';
	return utf8;
}

bool properties_read(const char *text, void (*each)(const char *key, const char *value, void *arg),
		     void *arg, struct error *err)
{
	struct reader reader = {.at = text, .line = 1};
	bool right = check_encoding(text, err);

	reader.logical = xmalloc(strlen(text) + 1);
	while (right && find_line(&reader)) {
		char *value;

		read_line(&reader);
		if (*reader.logical == '\0')
			continue;
		value = split(reader.logical);
		right = unescape(reader.logical) && unescape(value);
		if (right)
			each(reader.logical, value, arg);
		else
			error_set(err,
				  "line %u has a \\u that no four hexadecimal digits of a "
				  "character follow",
				  reader.began);
	}
	free(reader.logical);
	return right;
}
