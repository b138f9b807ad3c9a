/* SPDX-License-Identifier: ISC */
/*
 * buffer.c - text that grows, and how JSON and base64 are written to it
 */
#include "buffer.h"

#include "base/xalloc.h"

#include <stdlib.h>
#include <string.h>

/* Beyond this it is given back: no broker takes a record of that size by default. */
enum { KEEP = 1024 * 1024 };

void buffer_clear(struct buffer *buffer)
{
	buffer->len = 0;
	if (buffer->size > KEEP)
		buffer_free(buffer);
}

void buffer_free(struct buffer *buffer)
{
	free(buffer->data);
	*buffer = (struct buffer){0};
}

void buffer_reserve(struct buffer *buffer, size_t more)
{
	size_t needed = buffer->len + more;

	if (needed <= buffer->size)
		return;
	buffer->size = needed > buffer->size * 2 ? needed + 256 : buffer->size * 2;
	buffer->data = xrealloc(buffer->data, buffer->size);
}

void buffer_put(struct buffer *buffer, const char *bytes, size_t len)
{
	buffer_reserve(buffer, len + 1);
	if (len > 0)
		memcpy(buffer->data + buffer->len, bytes, len);
	buffer->len += len;
}

void buffer_text(struct buffer *buffer, const char *text)
{
	buffer_put(buffer, text, strlen(text));
}

void buffer_slice(struct buffer *buffer, struct slice slice)
{
	buffer_put(buffer, slice.data, slice.len);
}

void buffer_byte(struct buffer *buffer, char byte)
{
	buffer_put(buffer, &byte, 1);
}

void buffer_integer(struct buffer *buffer, int64_t number)
{
	char digits[20], *at = digits + sizeof(digits);
	uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;

	do {
		*--at = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest > 0);
	if (number < 0)
		buffer_byte(buffer, '-');
	buffer_put(buffer, at, (size_t)(digits + sizeof(digits) - at));
}

/* ---- JSON ---- */

/* Of one byte: \u00XX. */
enum { ESCAPE_MOST = 6 };

static char *put_unit(char *out, uint32_t unit)
{
	static const char upper[] = "0123456789ABCDEF";

	*out++ = '\\';
	*out++ = 'u';
	for (int shift = 12; shift >= 0; shift -= 4)
		*out++ = upper[unit >> shift & 15];
	return out;
}

static char *put_escaped(char *out, unsigned char c)
{
	static const char letters[] = "bfnrt";
	static const char meant[] = "\b\f\n\r\t";
	const char *found = memchr(meant, c, sizeof(meant) - 1);

	if (c < 0x20 && found == NULL)
		return put_unit(out, c);
	*out++ = '\\';
	*out++ = found != NULL ? letters[found - meant] : (char)c;
	return out;
}

/* at: four bytes of UTF-8. */
static char *put_surrogates(char *out, const char *at)
{
	const unsigned char *u = (const unsigned char *)at;
	uint32_t c = ((uint32_t)(u[0] & 7) << 18 | (uint32_t)(u[1] & 63) << 12 |
		      (uint32_t)(u[2] & 63) << 6 | (uint32_t)(u[3] & 63)) -
		     0x10000;

	return put_unit(put_unit(out, 0xD800 + (c >> 10)), 0xDC00 + (c & 0x3FF));
}

static bool is_plain(unsigned char c)
{
	return c >= 0x20 && c != '"' && c != '\\' && c < 0xF0;
}

void buffer_json(struct buffer *buffer, struct slice text)
{
	const char *at = text.data, *end = text.data + text.len;
	char *out;

	buffer_reserve(buffer, text.len * ESCAPE_MOST + 2);
	out = buffer->data + buffer->len;
	*out++ = '"';
	while (at < end) {
		if (is_plain((unsigned char)*at)) {
			*out++ = *at++;
		} else if ((unsigned char)*at >= 0xF0 && end - at >= 4) {
			out = put_surrogates(out, at);
			at += 4;
		} else {
			out = put_escaped(out, (unsigned char)*at++);
		}
	}
	*out++ = '"';
	buffer->len = (size_t)(out - buffer->data);
}

/* ---- base64 ---- */

void buffer_base64(struct buffer *buffer, struct slice bytes, enum base64 alphabet)
{
	static const char digits[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
	const char *last = alphabet == BASE64_URL ? "-_" : "+/";
	const unsigned char *in = (const unsigned char *)bytes.data;

	char *out;

	buffer_reserve(buffer, (bytes.len + 2) / 3 * 4 + 1);
	out = buffer->data + buffer->len;
	for (size_t i = 0; i < bytes.len; i += 3) {
		size_t here = bytes.len - i < 3 ? bytes.len - i : 3;
		uint32_t group = (uint32_t)in[i] << 16 | (here > 1 ? (uint32_t)in[i + 1] << 8 : 0) |
				 (here > 2 ? in[i + 2] : 0);

		for (size_t j = 0; j < 4; j++) {
			uint32_t digit = group >> (18 - 6 * j) & 63;

			*out++ = j > here ? '=' : digit < 62 ? digits[digit] : last[digit - 62];
		}
	}
	buffer->len = (size_t)(out - buffer->data);
}
