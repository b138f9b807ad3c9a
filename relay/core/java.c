/* SPDX-License-Identifier: ISC */
/*
 * java.c - numbers as Java prints them
 *
 * Double.toString (JDK 19, "raffaello giulietti" in JDK-4511638): of all decimals that round to the
 * number, those with the fewest digits, but two at least; of these the nearest.
 */
#include "java.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the fewest digits ---- */

/* 0.d1d2d3... times ten to the exponent. */
struct decimal {
	char digits[24];
	int count, exponent;
};

/* printf's "%.*e" without sign. */
static void read_decimal(const char *printed, struct decimal *decimal)
{
	const char *e = strchr(printed, 'e');

	decimal->count = 0;
	for (const char *at = printed; at < e; at++)
		if (*at != '.')
			decimal->digits[decimal->count++] = *at;
	decimal->exponent = (int)strtol(e + 1, NULL, 10) + 1;
}

static void print_decimal(const struct decimal *decimal, char *out, size_t size)
{
	snprintf(out, size, "0.%.*se%d", decimal->count, decimal->digits, decimal->exponent);
}

static bool is_same(const struct decimal *decimal, double number, bool single)
{
	char text[48];

	print_decimal(decimal, text, sizeof(text));
	return single ? strtof(text, NULL) == (float)number : strtod(text, NULL) == number;
}

/* Above a power of two the numbers that round to it reach further than below it: there the nearest
 * decimal of so many digits may not round to it, but the next one does. */
static void next_up(struct decimal *decimal)
{
	int i = decimal->count;

	while (i > 0 && decimal->digits[i - 1] == '9')
		decimal->digits[--i] = '0';
	if (i > 0) {
		decimal->digits[i - 1]++;
		return;
	}
	memmove(decimal->digits + 1, decimal->digits, (size_t)decimal->count - 1);
	decimal->digits[0] = '1';
	decimal->exponent++;
}

static bool try_digits(double number, bool single, int count, struct decimal *decimal)
{
	char printed[48];
	int exponent;

	snprintf(printed, sizeof(printed), "%.*e", count - 1, number);
	read_decimal(printed, decimal);
	if (is_same(decimal, number, single))
		return true;
	if (frexp(number, &exponent) != 0.5)
		return false;
	next_up(decimal);
	return is_same(decimal, number, single);
}

/* Any decimal of 15 (float: 6) digits comes back from a normal number, so fewer need no trial. */
static void fewest(double number, bool single, struct decimal *decimal)
{
	bool normal =
	    single ? number >= (double)1.17549435e-38f : number >= 2.2250738585072014e-308;
	int most = single ? 9 : 17, count = !normal ? 2 : single ? 6 : 15;

	while (!try_digits(number, single, count, decimal) && count < most)
		count++;
	while (decimal->count > 1 && decimal->digits[decimal->count - 1] == '0')
		decimal->count--;
}

/* ---- Java's form ---- */

/* At least one digit on each side of the point. */
static void put_digits(struct buffer *buffer, const struct decimal *decimal, int before)
{
	for (int i = 0; i < before; i++)
		buffer_byte(buffer, i < decimal->count ? decimal->digits[i] : '0');
	buffer_byte(buffer, '.');
	if (before >= decimal->count)
		buffer_byte(buffer, '0');
	else
		buffer_put(buffer, decimal->digits + before, (size_t)(decimal->count - before));
}

/* Plain from 10^-3 up to below 10^7. */
static void put_decimal(struct buffer *buffer, const struct decimal *decimal)
{
	if (decimal->exponent > 0 && decimal->exponent <= 7) {
		put_digits(buffer, decimal, decimal->exponent);
	} else if (decimal->exponent <= 0 && decimal->exponent > -3) {
		buffer_text(buffer, "0.");
		for (int i = decimal->exponent; i < 0; i++)
			buffer_byte(buffer, '0');
		buffer_put(buffer, decimal->digits, (size_t)decimal->count);
	} else {
		put_digits(buffer, decimal, 1);
		buffer_byte(buffer, 'E');
		buffer_integer(buffer, decimal->exponent - 1);
	}
}

static void put_number(struct buffer *buffer, double number, bool single)
{
	struct decimal decimal;

	if (isnan(number)) {
		buffer_text(buffer, "NaN");
		return;
	}
	if (signbit(number))
		buffer_byte(buffer, '-');
	if (isinf(number)) {
		buffer_text(buffer, "Infinity");
	} else if (number == 0) {
		buffer_text(buffer, "0.0");
	} else {
		fewest(fabs(number), single, &decimal);
		put_decimal(buffer, &decimal);
	}
}

void java_double(struct buffer *buffer, double number)
{
	put_number(buffer, number, false);
}

void java_float(struct buffer *buffer, float number)
{
	put_number(buffer, (double)number, true);
}

/* ---- decimals ---- */

static int scale_of(struct slice text)
{
	const char *point = memchr(text.data, '.', text.len);

	return point == NULL ? 0 : (int)(text.data + text.len - point - 1);
}

/* Without sign, point and zeros in front; how many there are. */
static size_t digits_of(struct slice text, char *digits)
{
	size_t count = 0;

	for (size_t i = 0; i < text.len; i++)
		if (text.data[i] >= '0' && text.data[i] <= '9' &&
		    (count > 0 || text.data[i] != '0'))
			digits[count++] = text.data[i];
	if (count == 0)
		digits[count++] = '0';
	return count;
}

void java_decimal(struct buffer *buffer, struct slice text)
{
	char *digits = malloc(text.len + 1);
	int scale = scale_of(text);
	size_t count;

	if (digits == NULL)
		abort(); /* out of memory, as in xalloc.h */
	count = digits_of(text, digits);
	long adjusted = (long)count - 1 - scale;
	if (adjusted >= -6) {
		buffer_slice(buffer, text);
	} else {
		if (text.data[0] == '-')
			buffer_byte(buffer, '-');
		buffer_byte(buffer, digits[0]);
		if (count > 1)
			buffer_byte(buffer, '.');
		buffer_put(buffer, digits + 1, count - 1);
		buffer_byte(buffer, 'E');
		buffer_integer(buffer, adjusted);
	}
	free(digits);
}

/* Multiplies the number, whose lowest byte is the last, by ten and adds the digit. */
static void push_digit(unsigned char *number, size_t len, size_t *used, int digit)
{
	unsigned carry = (unsigned)digit;

	for (size_t i = 0; i < *used || carry > 0; i++) {
		unsigned char *byte = &number[len - 1 - i];
		unsigned value = *byte * 10u + carry;

		*byte = (unsigned char)value;
		carry = value >> 8;
		if (i >= *used)
			*used = i + 1;
	}
}

static void negate(unsigned char *number, size_t len)
{
	unsigned carry = 1;

	for (size_t i = len; i-- > 0;) {
		unsigned value = (unsigned char)~number[i] + carry;

		number[i] = (unsigned char)value;
		carry = value >> 8;
	}
}

static bool is_decimal(struct slice text)
{
	size_t digits = 0, points = 0, sign = text.len > 0 && text.data[0] == '-';

	for (size_t i = sign; i < text.len; i++) {
		digits += text.data[i] >= '0' && text.data[i] <= '9';
		points += text.data[i] == '.';
	}
	return digits > 0 && points <= 1 && digits + points + sign == text.len;
}

/* Bytes in front that repeat the sign only are none of the number. */
static size_t redundant(const unsigned char *number, size_t len)
{
	size_t i = 0;

	while (i + 1 < len && ((number[i] == 0 && number[i + 1] < 0x80) ||
			       (number[i] == 0xFF && number[i + 1] >= 0x80)))
		i++;
	return i;
}

bool java_unscaled(struct buffer *bytes, struct slice text, int *scale)
{
	size_t len = text.len / 2 + 2, used = 0, skip;
	unsigned char *number;

	if (!is_decimal(text))
		return false;
	*scale = scale_of(text);
	number = calloc(len, 1);
	if (number == NULL)
		abort(); /* out of memory, as in xalloc.h */
	for (size_t i = 0; i < text.len; i++)
		if (text.data[i] >= '0' && text.data[i] <= '9')
			push_digit(number, len, &used, text.data[i] - '0');
	if (text.data[0] == '-')
		negate(number, len);
	skip = redundant(number, len);
	buffer_put(bytes, (char *)number + skip, len - skip);
	free(number);
	return true;
}
