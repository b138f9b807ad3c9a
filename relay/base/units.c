/* SPDX-License-Identifier: ISC */
/*
 * units.c - numbers, durations and sizes as people write them
 */
#include "base/units.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct unit {
	const char *name;
	int64_t factor;
};

/* Ascending: printing takes the largest that divides. */
static const struct unit durations[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", 60 * 60 * 1000}, {"d", 24 * 60 * 60 * 1000},
};
static const struct unit sizes[] = {
    {"B", 1},
    {"KiB", 1024},
    {"MiB", 1024 * 1024},
    {"GiB", 1024 * 1024 * 1024},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Reads the digits at text; what follows them, or NULL where there is none or it does not fit. */
static const char *parse_digits(const char *text, int64_t *number)
{
	const char *at;

	*number = 0;
	for (at = text; *at >= '0' && *at <= '9'; at++) {
		if (__builtin_mul_overflow(*number, 10, number) ||
		    __builtin_add_overflow(*number, *at - '0', number))
			return NULL;
	}
	return at == text ? NULL : at;
}

bool units_parse_number(const char *text, int64_t least, int64_t most, int64_t *number)
{
	bool negative = *text == '-';
	const char *digits = text + negative, *at;
	int64_t value = 0, digit;

	/* Down rather than up, as there is one more number below 0 than above. */
	for (at = digits; *at >= '0' && *at <= '9'; at++) {
		digit = *at - '0';
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_sub_overflow(value, digit, &value))
			return false;
	}
	if (at == digits || *at != '\0' || (!negative && value == INT64_MIN))
		return false;
	value = negative ? value : -value;
	if (value < least || value > most)
		return false;
	*number = value;
	return true;
}

static bool scale(int64_t number, const char *name, const struct unit *units, size_t count,
		  int64_t *out)
{
	for (size_t i = 0; i < count; i++) {
		int64_t scaled;

		if (strcmp(name, units[i].name) != 0)
			continue;
		if (__builtin_mul_overflow(number, units[i].factor, &scaled))
			return false;
		*out = scaled;
		return true;
	}
	return false;
}

bool units_parse_duration(const char *text, int64_t *milliseconds)
{
	int64_t number;
	const char *unit = parse_digits(text, &number);

	if (unit == NULL)
		return false;
	/* Nothing is nothing in any unit. */
	if (strcmp(text, "0") == 0)
		unit = "ms";
	return scale(number, unit, durations, COUNT(durations), milliseconds);
}

bool units_parse_size(const char *text, int64_t *bytes)
{
	int64_t number;
	const char *unit = parse_digits(text, &number);

	if (unit == NULL)
		return false;
	return scale(number, *unit == '\0' ? "B" : unit, sizes, COUNT(sizes), bytes);
}

static void print(int64_t number, const struct unit *units, size_t count, char *out, size_t size)
{
	size_t i = count - 1;

	assert(number >= 0 && size > 0);
	if (number == 0) {
		snprintf(out, size, "0");
		return;
	}
	while (number % units[i].factor != 0)
		i--;
	snprintf(out, size, "%" PRId64 "%s", number / units[i].factor, units[i].name);
}

void units_print_duration(int64_t milliseconds, char *out, size_t size)
{
	print(milliseconds, durations, COUNT(durations), out, size);
}

void units_print_size(int64_t bytes, char *out, size_t size)
{
	print(bytes, sizes, COUNT(sizes), out, size);
}
