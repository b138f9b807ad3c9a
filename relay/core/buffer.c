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

static const char upper[] = "0123456789ABCDEF";

static void put_unit(struct buffer *buffer, uint32_t unit)
{
	char escape[6] = {'\\',
			  'u',
			  upper[unit >> 12 & 15],
			  upper[unit >> 8 & 15],
			  upper[unit >> 4 & 15],
			  upper[unit & 15]};

	buffer_put(buffer, escape, sizeof(escape));
}

static void put_escaped(struct buffer *buffer, unsigned char c)
{
	static const char letters[] = "bfnrt";
	static const char meant[] = "\b\f\n\r\t";
	const char *found = memchr(meant, c, sizeof(meant) - 1);
	char escape[2] = {'\\', (char)c};

	if (found != NULL)
		escape[1] = letters[found - meant];
	else if (c < 0x20) {
		put_unit(buffer, c);
		return;
	}
	buffer_put(buffer, escape, sizeof(escape));
}

/* at: four bytes of UTF-8. */
static void put_surrogates(struct buffer *buffer, const char *at)
{
	const unsigned char *u = (const unsigned char *)at;
	uint32_t c = ((uint32_t)(u[0] & 7) << 18 | (uint32_t)(u[1] & 63) << 12 |
		      (uint32_t)(u[2] & 63) << 6 | (uint32_t)(u[3] & 63)) -
		     0x10000;

	put_unit(buffer, 0xD800 + (c >> 10));
	put_unit(buffer, 0xDC00 + (c & 0x3FF));
}

static bool is_plain(unsigned char c)
{
	return c >= 0x20 && c != '"' && c != '\\' && c < 0xF0;
}

void buffer_json(struct buffer *buffer, struct slice text)
{
	const char *at = text.data, *end = text.data + text.len;

	buffer_reserve(buffer, text.len + 2);
	buffer_byte(buffer, '"');
	while (at < end) {
		const char *plain = at;

		while (at < end && is_plain((unsigned char)*at))
			at++;
		buffer_put(buffer, plain, (size_t)(at - plain));
		if (at == end)
			break;
		if ((unsigned char)*at >= 0xF0 && end - at >= 4) {
			put_surrogates(buffer, at);
			at += 4;
		} else {
			put_escaped(buffer, (unsigned char)*at++);
		}
	}
	buffer_byte(buffer, '"');
}

/* ---- base64 ---- */

void buffer_base64(struct buffer *buffer, struct slice bytes, enum base64 alphabet)
{
	static const char digits[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
	const char *last = alphabet == BASE64_URL ? "-_" : "+/";
	const unsigned char *in = (const unsigned char *)bytes.data;

	buffer_reserve(buffer, (bytes.len + 2) / 3 * 4 + 1);
	for (size_t i = 0; i < bytes.len; i += 3) {
		size_t here = bytes.len - i < 3 ? bytes.len - i : 3;
		uint32_t group = (uint32_t)in[i] << 16 | (here > 1 ? (uint32_t)in[i + 1] << 8 : 0) |
				 (here > 2 ? in[i + 2] : 0);

		for (size_t j = 0; j < 4; j++) {
			uint32_t digit = group >> (18 - 6 * j) & 63;

			buffer_byte(buffer, j > here	 ? '='
					    : digit < 62 ? digits[digit]
							 : last[digit - 62]);
		}
	}
}
